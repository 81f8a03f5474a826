"""Runs in the emulated machine: loads files and keeps what they give.

Imports nothing of this package, which is not there. Its one argument is a
folder with `jobs.json`, a list of files, set-ups and arrays.
"""

import json
import sys
import time


def main(folder):
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with open(f"{folder}/jobs.json") as file:
        jobs = json.load(file)
    for number, job in enumerate(jobs):
        print("job", number, flush=True)
        try:
            model = Interpreter(
                model_path=job["path"],
                num_threads=1,
                experimental_op_resolver_type=OpResolverType[job["resolver"]],
            )
            model.allocate_tensors()
            runner = model.get_signature_runner()
        except (RuntimeError, ValueError) as error:
            with open(f"{folder}/{number}.error", "w") as file:
                file.write(str(error))
            continue
        arrays = {
            name: np.load(f"{folder}/{where}")
            for name, where in job["inputs"].items()
        }
        rows, seconds = [], []
        for turn in range(len(next(iter(arrays.values())))):
            fed = {name: array[turn] for name, array in arrays.items()}
            start = time.perf_counter()
            rows.append(runner(**fed))
            seconds.append(time.perf_counter() - start)
        outputs = {
            name: np.stack([row[name] for row in rows]) for name in rows[0]
        }
        for place, name in enumerate(job["outputs"]):
            np.save(f"{folder}/{number}-out-{place}.npy", outputs[name])
        with open(f"{folder}/{number}.seconds", "w") as file:
            json.dump(seconds, file)


if __name__ == "__main__":
    main(sys.argv[1])
