"""Steps of pipelines: each reads its inputs and writes its results to a folder."""
