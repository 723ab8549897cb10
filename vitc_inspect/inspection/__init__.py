"""The public functions: compare prediction and observation, for a stem and for any module."""
