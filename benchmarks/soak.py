"""Question: is training that is killed and restarted the same as at rest?

    python benchmarks/soak.py --minutes 60 --restarts 20
    python benchmarks/soak.py --table

A net is pruned while it trains, twice with one seed: undisturbed, and in a
process that is killed (SIGKILL) at random moments and started again from the
backup, about the given minutes. After each epoch and
after each restart all weights, masks and what the optimizer remembers are
compared by their checksum; at the end so are the weights, the masks and the
exported files. Memory is that of the process after each epoch.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from recipes import record, recorded

BENCHMARK = "soak"
TRAINING = pathlib.Path(__file__).with_name("soak_training.py")
TRIAL = 4  # epochs that are timed to find how many fit
WARM_UP = 0.1  # of the epochs of the undisturbed run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=60, help="of the disturbed run"
    )
    parser.add_argument("--epochs", type=int, help="instead of minutes")
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, help="of the training set")
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if not options.table and not soak(options):
        sys.exit("the two runs differ")
    print(table(recorded(BENCHMARK)))


def soak(options):
    """Runs both; whether they are the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        epochs = options.epochs or _epochs(folder / "trial", options)
        rest = Run(folder / "rest", options, epochs, kills=[])
        rest.go()
        dice = random.Random(options.seed)
        # No two of neighbouring epochs, of which one kill could take both.
        moments = sorted(dice.sample(range(epochs // 2 - 1), options.restarts))
        kills = [(2 * moment, dice.uniform(0, 1.1)) for moment in moments]
        killed = Run(folder / "killed", options, epochs, kills)
        killed.go(expected=rest.states)
        same = {
            what: rest.result[what] == killed.result[what]
            for what in ("weights", "masks", "checkpoint", "file")
        }
    row = {
        "epochs": epochs,
        "restarts": len(killed.restored),
        "seed": options.seed,
        "images": rest.result["images"],
        "minutes": [round(run.minutes, 1) for run in (rest, killed)],
        "restored as they were": killed.agreed,
        "epochs as undisturbed": len(killed.states) - len(killed.differed),
        "same at the end": same,
        "sparsity": killed.result["sparsity"],
        "accuracy": [rest.result["accuracy"], killed.result["accuracy"]],
        "memory": rest.memory(),
        "most memory of a restarted process": killed.most_memory(),
    }
    print(record(BENCHMARK, row), flush=True)
    restored = killed.agreed == options.restarts
    return all(same.values()) and restored and not killed.differed


def table(rows):
    lines = [
        "| epochs | minutes at rest | minutes disturbed | restarts | restored"
        " as they were | same weights, masks, checkpoint and file | sparsity"
        " | accuracy % | MiB after warm-up | MiB at the end | MiB an hour |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        at_rest, disturbed = row["minutes"]
        same = all(row["same at the end"].values())
        lines.append(
            f"| {row['epochs']} | {at_rest} | {disturbed} | "
            f"{row['restarts']} | {row['restored as they were']} | "
            f"{'yes' if same else 'no'} | {row['sparsity']:.1%} | "
            f"{row['accuracy'][1]:.2f} | "
            f"{row['memory']['warm']:.0f} | {row['memory']['end']:.0f} | "
            f"{row['memory']['slope']:+.1f} |"
        )
    return "\n".join(lines)


class Run:
    """A training in a process that is killed and started again.

    Args:
        folder: Its backup and what it exports.
        options: Of the command line.
        epochs: In all.
        kills: Pairs of an epoch and how long after it the process is killed,
            in epochs.
    """

    def __init__(self, folder, options, epochs, kills):
        folder.mkdir()
        self.folder = folder
        self.kills = kills
        self.command = [sys.executable, str(TRAINING), str(folder)]
        self.command += ["--epochs", str(epochs), "--seed", str(options.seed)]
        if options.images:
            self.command += ["--images", str(options.images)]
        self.states, self.restored, self.lives = {}, [], []
        self.agreed, self.differed = 0, set()
        self.result = self.minutes = None

    def go(self, expected=None):
        begin, kills = time.perf_counter(), list(self.kills)
        while self.result is None:
            self._live(kills, expected or {})
        self.minutes = (time.perf_counter() - begin) / 60

    def _live(self, kills, expected):
        log = self.folder / "log"
        with (
            open(log, "a") as said,
            subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=said, text=True
            ) as child,
        ):
            self.lives.append([])
            killed = False
            for line in child.stdout:
                event = json.loads(line) if line.startswith("{") else {}
                self._note(event, expected)
                due = kills and event.get("ended", -1) >= kills[0][0]
                if due and not killed:
                    time.sleep(kills.pop(0)[1] * event["seconds"])
                    child.kill()
                    killed = True
        if child.returncode and not killed:
            raise RuntimeError(
                f"Expected a process that trains on; received one that ended "
                f"with {child.returncode}:\n{log.read_text()[-3000:]}"
            )

    def _note(self, event, expected):
        if "ended" in event:
            self.states[event["ended"]] = event["state"]
            self.lives[-1].append(event)
            if expected and expected[event["ended"]] != event["state"]:
                self.differed.add(event["ended"])
        elif event.get("begins"):
            self.restored.append(event)
            same = expected[event["begins"] - 1] == event["state"]
            self.agreed += same
            print(f"{len(self.restored)}: {event}, same: {same}", flush=True)
        elif "file" in event:
            self.result = event

    def memory(self):
        """MiB after the warm-up and at the end, and their growth an hour."""
        import numpy as np

        (life,) = self.lives
        kept = life[int(WARM_UP * len(life)) :]
        hours = np.array([event["at"] for event in kept]) / 3600
        mib = [event["mib"] for event in kept]
        slope = np.polyfit(hours, mib, 1)[0] if len(kept) > 2 else float("nan")
        return {"warm": mib[0], "end": mib[-1], "slope": float(slope)}

    def most_memory(self):
        return max(event["mib"] for life in self.lives for event in life)


def _epochs(folder, options):
    """How many fit into the time, from a trial."""
    begin = time.perf_counter()
    trial = Run(folder, options, TRIAL, [])
    trial.go()
    seconds = sorted(event["seconds"] for event in trial.lives[0])[TRIAL // 2]
    start = time.perf_counter() - begin - TRIAL * seconds
    left = 60 * options.minutes - (options.restarts + 1) * start
    epochs = int(left / seconds - 0.6 * options.restarts)
    if epochs < 2 * options.restarts + 4:
        raise ValueError(
            f"Expected minutes for {options.restarts} restarts, received "
            f"{options.minutes}: an epoch takes {seconds:.1f} s, a start "
            f"{start:.1f} s. Give more, or fewer restarts."
        )
    return epochs


if __name__ == "__main__":
    main()
