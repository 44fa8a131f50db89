"""The process that runs pydensecrf: requests come in by stdin, marginals go out by stdout."""

import os
import pickle
import sys
from typing import Any


def main() -> None:
    """Answer pickled requests until there are no more; an error is an answer too."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the library prints must not come between
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = infer(**request)
        except Exception as error:
            answer = error
        pickle.dump(answer, answers, protocol=5)
        answers.flush()


def infer(image: Any, unary: Any, gaussian: Any, bilateral: Any, iterations: int) -> Any:
    """Marginals (l H W) of one image, both kernels with symmetric normalisation."""
    import numpy as np
    from pydensecrf import densecrf

    labels, height, width = unary.shape
    model = densecrf.DenseCRF2D(width, height, labels)
    model.setUnaryEnergy(unary.reshape(labels, -1))
    model.addPairwiseGaussian(**gaussian)
    model.addPairwiseBilateral(rgbim=image, **bilateral)
    # copied: the library's buffer is laid out with labels fastest
    marginals = np.array(model.inference(iterations), np.float32, order="C")
    return marginals.reshape(unary.shape)


if __name__ == "__main__":
    main()
