"""Create a W&B workspace that compares the scores of experiments over seeds.

pip install wandb-workspaces
python experiments/dashboards/workspace.py ENTITY          # create the view, print its address
python experiments/dashboards/workspace.py ENTITY --print  # print its definition; no account

The script reads no runs: the sections use the names that `docs/wandb.md` describes. Run it once per
project; runs that are logged later appear in the view.
"""

import argparse

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces

SCORES = (
    "classifier/val/map",
    "seeds/train/miou",
    "seeds/train/miou_oracle",
    "crf/train/miou",
    "pseudo/train/miou",
    "segmentation/val/miou",
)
# runs are sorted by it
OBJECTIVE = "segmentation/val/miou"


def compose(entity: str, project: str) -> workspaces.Workspace:
    """Build the view without sending it."""
    results = workspaces.RunsetSettings(
        filters=[workspaces.Metric("JobType") == "results"],
        groupby=[workspaces.Config("data.name"), workspaces.Config("experiment")],
        order=[workspaces.Ordering(workspaces.Summary(OBJECTIVE), ascending=False)],
        pinned_columns=["run:displayName", *(f"summary:{score}" for score in SCORES)],
    )
    bars = [
        panels.BarPlot(
            title=score,
            metrics=[score],
            groupby=panels.Config("experiment"),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
        for score in SCORES
    ]
    chain = panels.ParallelCoordinatesPlot(
        title="from tags to masks",
        columns=[
            panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric(score))
            for score in SCORES
        ],
    )
    tables = {
        "The same images in all runs": ("probes/val", "probes/train"),
        "Classes": ("per_class_iou",),
        "Thresholds": ("threshold_curve",),
    }
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name="Comparison of experiments",
        sections=[
            workspaces.Section(name="Scores: mean and range", panels=[*bars, chain], is_open=True),
            *(
                workspaces.Section(
                    name=name,
                    panels=[panels.WeavePanelSummaryTable(table_name=key) for key in keys],
                )
                for name, keys in tables.items()
            ),
            workspaces.Section(
                name="Pictures",
                panels=[panels.MediaBrowser(media_keys=["pictures/val", "pictures/train"])],
            ),
        ],
        runset_settings=results,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("entity", help="account or team")
    parser.add_argument("--project", default="wsss_lightning")
    parser.add_argument(
        "--print", action="store_true", help="print the definition instead of creating the view"
    )
    args = parser.parse_args()
    view = compose(args.entity, args.project)
    if args.print:
        print(view._to_model().model_dump_json(indent=2))
    else:
        view.save()


if __name__ == "__main__":
    main()
