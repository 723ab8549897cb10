"""The public verbs: what was predicted beside what was observed, for a stem and for any module."""
