"""Screens FILMS in parts, on a Ray cluster or on this machine, then writes one report into OUT/report."""

import argparse
import json
import os
import time

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"} | os.environ  # tells nobody
import ray

import screen.cli.main

typed = argparse.ArgumentParser(description=__doc__)
typed.add_argument("films", type=os.path.abspath, help="where films lie, on every machine")
typed.add_argument("out", type=os.path.abspath, help="a folder that all machines share")
typed.add_argument("--parts", type=int, default=16, help="a few for each machine: the last one is waited for")
typed.add_argument("--cpus", type=int, default=4, help="of each part")
typed.add_argument("--gpus", type=float, default=0, help="of each part")
typed.add_argument("--options", type=json.loads, default={}, help="""of screen.run: '{"batch_size": 16}'""")
told = typed.parse_args()
folders = [f"{told.out}/part-{number}" for number in range(1, told.parts + 1)]
options = {"batch_size": 16, "workers": told.cpus, "progress": True} | told.options


@ray.remote(num_cpus=told.cpus, num_gpus=told.gpus, max_retries=20, retry_exceptions=True)
def screened(part):  # in the task's process: when it dies the run dies, too, and the next try resumes
    try:
        done = screen.run(told.films, out=folders[part - 1], part=f"{part}/{told.parts}", **options)
        return {0: "complete", 3: "complete, files failed"}[done.exit_code]
    except Exception:
        time.sleep(10)  # a machine that was lost may still hold its lock
        raise


ray.init(os.environ.get("RAY_ADDRESS", "local"))
parts = {screened.remote(part): part for part in range(1, told.parts + 1)}
while parts:
    (done,), _ = ray.wait(list(parts))
    print(f"part {parts.pop(done)}: {ray.get(done)}; {len(parts)} are left", flush=True)
screen.cli.main.main(arguments=["report", f"{told.out}/report", "--parts", *folders])
