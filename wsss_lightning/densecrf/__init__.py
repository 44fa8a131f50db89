"""Dense CRF: mean field with a Gaussian and a bilateral kernel, in four engines.

    from wsss_lightning.densecrf import CRFParameters, mean_field, unary_from_scores

    marginal = mean_field(image, unary_from_scores(score), CRFParameters(80, 13, 3, 10, 3, 10))
    marginal = mean_field(image, unary_from_scores(score), "psa")  # the same

The engines are `native` (C++), `torch` (any device, differentiable), `exact` (full kernel matrices)
and `pydensecrf` (the reference library).
"""

from wsss_lightning.densecrf.api import ENGINES, mean_field, mean_field_batch
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.unary import unary_from_labels, unary_from_scores

__all__ = [
    "ENGINES",
    "CRFParameters",
    "mean_field",
    "mean_field_batch",
    "unary_from_labels",
    "unary_from_scores",
]
