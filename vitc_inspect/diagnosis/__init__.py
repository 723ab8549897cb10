"""What is wrong: the contract between a model's parts."""

from vitc_inspect.diagnosis.contract import Contract, faults, faults_of
from vitc_inspect.diagnosis.explanation import Explanation

__all__ = ["Contract", "Explanation", "faults", "faults_of"]
