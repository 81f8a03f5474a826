"""Runs every benchmark, and prints the tables and draws the plots of README.md.

    python benchmarks/run_all.py                      # days
    python benchmarks/run_all.py --only accuracy_vs_sparsity file_sizes
    python benchmarks/run_all.py --quick              # minutes, keeps nothing
    python benchmarks/run_all.py --list

The commands are those of README.md. Many skip what is recorded already: move
`results` away to measure all anew. The quick form runs each script on a few
made-up images in a tiny setting, to see that it still runs.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
NO_BENCHMARKS = {
    "accuracy_plot.py",
    "compact_tables.py",
    "draw_plots.py",
    "noisy_groups.py",
    "quick.py",
    "recipes.py",
    "run_all.py",
    "soak_training.py",
    "sparse_methods.py",
    "structured_tables.py",
    "tables.py",
    "timing_tables.py",
}
TINY = "--seeds 0 --epochs 1"
QUICK = f"""
    soak.py --epochs 8 --restarts 1 --images 1000
    memory_growth.py --epochs 10 --images 256
    large_model.py --sizes 1M --steps 1 --no-export
    other_pruners.py --models nested
    side_by_side.py --epochs 2 --rounds 1 --step-epochs 2 --images 500 \
        --tools "plain Keras" keras_sparse
    1000 phone_nets.py --part mobilenet --epochs 1 1 --runs 5
    1000 phone_nets.py --part blocks --epochs 1 1 --runs 5 --width 128
    1000 phone_nets.py --part vgg --epochs 1 1 --runs 5
    step_time.py --net convnet --rounds 1 --steps 2
    step_time.py --net mlp2048 --memory --variants dense
    bayes_step_time.py --nets lenet300 --rounds 1
    method_step_time.py --widths 60 --rounds 1 --steps 3
    1000 accuracy_vs_sparsity.py {TINY} --sparsities 0.9 \
        --methods dense "feather erk" rigl "learned gaussian" str tfmot
    1000 file_sizes.py --epochs 1 --sparsities 0.9
    import_time.py --processes 1
    1000 weight_gate.py --seeds 0 --pretraining 1 --epochs 1
    bayes_mnist.py {TINY} --prior ard --tuning 1 --thresholds 1
    sequential.py {TINY} --net plain26 --starts -8 --blocks 9 \
        --methods joint sequential
    1000 structured_bayes.py {TINY} --net lenet500 --method log_normal
    1000 structured_bayes.py {TINY} --net lenet500 --method half_cauchy
    lottery_mnist.py --seeds 0 --steps 20 --every 10 --rounds 0 1
    lottery_mnist.py --seeds 0 --steps 20 --every 10 --rounds 0 1 --controls \
        --schedule cosine --rewind finetune
    lottery_transfer.py --width 2 --steps 20 --every 10 --rounds 1 \
        --compare 1 --settings classes
    1000 edge_popup.py {TINY} --keeps 0.5
    1000 compact_mnist.py merge {TINY}
    1000 compact_mnist.py tri_state {TINY}
    1000 compact_mnist.py sal {TINY}
    1000 group_penalties.py slimming {TINY} --finetune 1 --remove 0.5
    1000 one_shot.py --nets lenet300 --seeds 0
    1000 smallest_file.py --seeds 0 --dense-epochs 1 --epochs 1 \
        --tuning-epochs 1 --sparsities 0.9 --clusters 16 --limit 50
    applications_shrink.py MobileNet --quick
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="SCRIPT")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="quick ones at a time"
    )
    parser.add_argument("--list", action="store_true", help="only print them")
    options = parser.parse_args()
    commands = quick_commands() if options.quick else full_commands()
    if options.only:
        names = {name.removesuffix(".py") for name in options.only}
        unknown = names - {script_of(each) for each in commands}
        if unknown:
            parser.error(f"no command of {', '.join(sorted(unknown))}")
        commands = [each for each in commands if script_of(each) in names]
    if options.list:
        print("\n".join(commands))
        return
    failed = (run_quick if options.quick else run_full)(commands, options.jobs)
    if failed:
        sys.exit("Failed:\n" + "\n".join(failed))


def full_commands():
    """The commands that README.md names, in its order; all scripts have one."""
    lines = (HERE / "README.md").read_text().splitlines()
    commands = [line.strip() for line in lines if line.startswith("    ")]
    pattern = re.compile(r"([A-Z_0-9]+=\S+ )*python benchmarks/")
    commands = [
        each
        for each in commands
        if pattern.match(each)
        and "--table" not in each
        and script_of(each) + ".py" not in NO_BENCHMARKS
    ]
    check_all(commands, "README.md")
    return commands


def quick_commands():
    """One line or more for each script; all scripts have one."""
    lines = [line.strip() for line in QUICK.strip().splitlines()]
    check_all(lines, "QUICK in run_all.py")
    return lines


def check_all(commands, where):
    """Refuses commands that leave a script out."""
    scripts = {path.name for path in HERE.glob("*.py")} - NO_BENCHMARKS
    missing = scripts - {f"{script_of(each)}.py" for each in commands}
    if missing:
        raise ValueError(
            "Expected a command for every script, received none of "
            f"{', '.join(sorted(missing))}. Add it to {where}."
        )


def script_of(command):
    """The name of the script that a command runs."""
    return re.findall(r"([a-z_]+)\.py", command)[0]


def run_full(commands, _):
    """Runs them in turn, then prints the tables; those that failed."""
    failed = []
    for command in commands:
        print(f"\n$ {command}", flush=True)
        if subprocess.run(command, shell=True, env=_environment()).returncode:
            failed.append(command)
    for script in ("tables.py", "draw_plots.py"):
        subprocess.run([sys.executable, str(HERE / script)], check=True)
    return failed


def run_quick(commands, jobs):
    """Shares them among some processes; keeps no results."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment()
        environment["KERAS_SPARSE_RESULTS"] = os.path.join(folder, "results")
        logs = [open(f"{folder}/{job}.log", "w+") for job in range(jobs)]
        running = [
            subprocess.Popen(
                [sys.executable, str(HERE / "quick.py"), *commands[job::jobs]],
                env=environment,
                cwd=HERE.parent,
                stderr=log,
            )
            for job, log in enumerate(logs)
        ]
        failed = []
        for job, log in zip(running, logs, strict=True):
            if job.wait():
                log.seek(0)
                failed.append(f"{log.read()[-4000:]}\nended with {job.wait()}")
            log.close()
    print(f"{time.perf_counter() - begin:5.0f} s in all")
    return failed


def _environment():
    """With this interpreter first, so that `python` is the same."""
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path}


if __name__ == "__main__":
    main()
