"""The main job, end to end, on data that comes with sfumato.

Publishes a table of people (a census sample, task: income) and a set of pictures (MNIST where it
is on this machine, else 8×8 digits; task: the label), each with its proof, attacks both, and
writes the reports. Run as `make demo`, or `python examples/demo.py FOLDER`.
"""

import shutil
import sys
import time
from pathlib import Path

import sfumato
from sfumato.api.evaluations import evaluation_path
from sfumato.cli.output import progress_bar
from sfumato.data import datasets

MARK = ".sfumato-demo"


def main(folder: Path) -> None:
    """Publishes both releases into ``folder``, in place of an earlier run of this demo."""
    if (folder / MARK).exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    pictures = "mnist" if datasets.find("mnist") else "digits"
    started = time.perf_counter()
    # A quarter of the default training: two minutes on two cores instead of six.
    quick = {"samples": 20_000, "preset": "lines"} if pictures == "mnist" else {}
    jobs = [
        ("table", "census-sample", "income", 1e-6, {}),
        ("images", pictures, "label", 1e-5, quick),
    ]
    reports = []
    for name, data, target, delta, settings in jobs:
        print(f"Publishing dataset:{data} for the task {target!r} at ε = 1, δ = {delta:g} …")
        with progress_bar(quiet=False) as progress:
            release = sfumato.publish(
                f"dataset:{data}",
                target=target,
                epsilon=1.0,
                delta=delta,
                settings=settings,
                out=folder / name,
                ledger=folder / f"{name}-ledger.db",
                progress=progress,
            )
        print(f"  {release.card.proven.describe()}")
        for finding in release.evaluation.findings:
            print(f"  {finding.attack}: {finding.summary}")
        print(f"  {release.evaluation.utility.summary}")
        print(f"  may be handed over: {release.path}")
        reports.append(evaluation_path(release.path) / "report.html")
    print(f"\nDone in {time.perf_counter() - started:.0f} s. The reports:")
    for report in reports:
        print(report)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output").absolute())
