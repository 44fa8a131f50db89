import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.methods.sc_cam.clusters import ABSENT
from wsss_lightning.methods.sc_cam.files import load_features
from wsss_lightning.training.callbacks.feature_writer import FeatureWriter


class EchoModule(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Identity()

    def predict_step(self, batch, batch_idx):
        return batch


@pytest.mark.parametrize("classes", [1, 2])
def test_each_batch_is_written_to_a_file_and_counts_as_done(tmp_path, classes):
    features, tags = torch.rand(3, classes, 5), torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    batches = [
        {"name": ["x/b", "a"], "tags": tags[:2], "feature": features[:2].bfloat16()},
        {"name": ["c"], "tags": tags[2:], "feature": features[2:]},
    ]
    writer = FeatureWriter(tmp_path)
    assert writer.done() == set()
    pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[writer],
    ).predict(EchoModule(), DataLoader(batches, batch_size=None), return_predictions=False)
    assert writer.done() == {"a", "x/b", "c"}
    parts = [load_features(path) for path in tmp_path.glob("part-*.npz")]
    names, owners, rows = next(part for part in parts if "a" in part.names)
    if classes == 1:
        assert (names, owners.tolist()) == (["x/b", "a"], [ABSENT, ABSENT])
        expected = features[:2, 0]
    else:
        assert (names, owners.tolist()) == (["x/b", "a", "a"], [0, 0, 1])
        expected = features[[0, 1, 1], [0, 0, 1]]
    torch.testing.assert_close(torch.from_numpy(rows), expected, atol=4e-3, rtol=0)
