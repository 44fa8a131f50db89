# docker build -t wsss_lightning .
# docker run --gpus all -v "$PWD:/home/wsss/work" wsss_lightning experiment=cam trainer=gpu
FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu22.04

# the compiler makes the CRF's loops when they are first used, and builds pydensecrf2
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        g++ git python3 python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 wsss
USER wsss
WORKDIR /home/wsss/src
RUN python3 -m venv /home/wsss/venv
ENV PATH="/home/wsss/venv/bin:$PATH" OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1

COPY --chown=wsss pyproject.toml README.md LICENSE ./
COPY --chown=wsss conf conf
COPY --chown=wsss wsss_lightning wsss_lightning
RUN pip install --no-cache-dir ".[boxes,crf,tensorboard,wandb]"

# runs and the cache of generated data land here; mount a folder of yours
WORKDIR /home/wsss/work
ENTRYPOINT ["python", "-m", "wsss_lightning"]
CMD ["--help"]
