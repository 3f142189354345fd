# mjxrl on an NVIDIA GPU, whose driver comes from the host; CUDA itself comes with torch's and jax's wheels.
#
#   docker build -t mjxrl .
#   docker run --gpus all -v "$PWD/runs:/work/runs" -v mjxrl-cache:/cache mjxrl train --env Ant-v5
#
# Not yet built or run by us: there was no Docker on the machines where it was written.
FROM python:3.12-slim-bookworm

# OpenGL for films, and the compiler of --learner.compile
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1 g++ \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml constraints.txt README.md LICENSE /mjxrl/
COPY mjxrl /mjxrl/mjxrl
COPY envs /mjxrl/envs
RUN pip install --no-cache-dir -c /mjxrl/constraints.txt "/mjxrl[cuda,warp,film,onnx,robotics,wandb,sweep]" \
    && rm -r /mjxrl

# what films and kernels need of the driver, and compiled programs that outlive a container
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics \
    XDG_CACHE_HOME=/cache
WORKDIR /work
ENTRYPOINT ["mjxrl"]
CMD ["doctor"]
