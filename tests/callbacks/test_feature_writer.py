import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from wsss_lightning.callbacks.feature_writer import FeatureWriter
from wsss_lightning.data.features import load_features


class Says(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Identity()

    def predict_step(self, batch, batch_idx):
        return batch


def test_each_batch_is_a_file_and_is_known_afterwards(tmp_path):
    features = torch.rand(3, 5)
    batches = [
        {"name": ["b", "a"], "feature": features[:2].bfloat16()},
        {"name": ["c"], "feature": features[2:]},
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
    ).predict(Says(), DataLoader(batches, batch_size=None), return_predictions=False)
    assert writer.done() == {"a", "b", "c"}
    names, stored = load_features(tmp_path / "part-b.npz")
    assert names == ["b", "a"]
    torch.testing.assert_close(torch.from_numpy(stored), features[:2], atol=4e-3, rtol=0)
