"""The process that runs pydensecrf: reads requests from stdin, writes marginals to stdout."""

import os
import pickle
import sys
from typing import Any


def main() -> None:
    """Answer pickled requests until stdin ends; errors are sent as answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of the library goes to stderr
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
    """Marginals (l H W) of one image, with symmetric normalisation of both kernels."""
    import numpy as np
    from pydensecrf import densecrf

    labels, height, width = unary.shape
    model = densecrf.DenseCRF2D(width, height, labels)
    model.setUnaryEnergy(unary.reshape(labels, -1))
    model.addPairwiseGaussian(**gaussian)
    model.addPairwiseBilateral(rgbim=image, **bilateral)
    # copied because labels are the fastest dimension of the library's buffer
    marginals = np.array(model.inference(iterations), np.float32, order="C")
    return marginals.reshape(unary.shape)


if __name__ == "__main__":
    main()
