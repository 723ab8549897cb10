"""Explain shape errors, and check the parts of a model. Never imports torch."""

from vitc_inspect.diagnosis.contract import Contract
from vitc_inspect.diagnosis.contract_faults import faults, faults_of
from vitc_inspect.diagnosis.decoder import explain_error
from vitc_inspect.diagnosis.explanation import FAULT_KINDS, Explanation

__all__ = ["FAULT_KINDS", "Contract", "Explanation", "explain_error", "faults", "faults_of"]
