"""What went wrong: the decoder of shape errors, and the contract between a model's parts."""

from vitc_inspect.diagnosis.contract import faults, faults_of
from vitc_inspect.diagnosis.decoder import explain_error
from vitc_inspect.diagnosis.explanation import FAULT_KINDS, Explanation
from vitc_inspect.diagnosis.parts import Contract

__all__ = ["FAULT_KINDS", "Contract", "Explanation", "explain_error", "faults", "faults_of"]
