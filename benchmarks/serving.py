"""Does a server answer all, and how soon?

    python benchmarks/serving.py --backend torch

starts `python -m keras_stts serve --preset shapes_tiny` on this machine and has
8 clients, the `openai` package, ask 200 questions about rendered clips: half by
addresses of files, half by data URLs, each third one as a stream. Beside them
one more client sends bad videos and breaks off requests (`--undisturbed` leaves
it out). It ends with one JSON line: answers that are missing, that differ from
those of `model.generate`, requests a second, seconds of a request (median, and
the 9th of 10), and the requests in a batch.

`--replicas` is that of the server, and what follows `--` are more of its
options, such as `-- --max-batch 8`.
"""

import argparse
import base64
import collections
import concurrent.futures
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="torch")
parser.add_argument("--clients", type=int, default=8)
parser.add_argument("--requests", type=int, default=200)
parser.add_argument("--replicas", type=int, default=1)
parser.add_argument("--undisturbed", action="store_true")
parser.add_argument("--output", type=pathlib.Path)
parser.add_argument("options", nargs="*")
args = parser.parse_args()
os.environ["KERAS_BACKEND"] = args.backend

import openai  # noqa: E402

import keras_stts  # noqa: E402

NAME = "shapes_tiny"
STARTING = 600  # Seconds.


@contextlib.contextmanager
def server(folder):
    """Gives the address of a server."""
    command = [sys.executable, "-m", "keras_stts", "serve", "--preset", NAME]
    command += ["--port", "0", "--replicas", str(args.replicas)]
    command += ["--allow-folder", str(folder), *args.options]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            yield address_of(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def address_of(process, log):
    for _ in range(10 * STARTING):
        log.seek(0)
        found = re.search(r"http://[\d.]+:\d+", log.read())
        if found and is_healthy(found[0]):
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    log.seek(0)
    sys.exit(log.read())


def is_healthy(address):
    try:
        urllib.request.urlopen(f"{address}/health", timeout=STARTING).close()
    except OSError:
        return False
    return True


def messages(url, question):
    parts = [
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "text", "text": question},
    ]
    return [{"role": "user", "content": parts}]


def ask(client, number, row):
    """Tuple of the answer, or the error's name, and seconds."""
    path = pathlib.Path(row["video"])
    url = path.as_uri()
    if number % 2:
        content = base64.b64encode(path.read_bytes()).decode()
        url = f"data:video/mp4;base64,{content}"
    start = time.perf_counter()
    try:
        answer = client.chat.completions.create(
            model=NAME,
            messages=messages(url, row["question"]),
            stream=number % 3 == 0,
        )
        if number % 3 == 0:
            text = "".join(e.choices[0].delta.content or "" for e in answer)
        else:
            text = answer.choices[0].message.content
    except openai.APIError as error:
        text = error
    return text, time.perf_counter() - start


def disturb(address, folder, ended):
    """Bad videos, and clients that break off; returns statuses."""
    bad = folder / "bad.mp4"
    bad.write_bytes(b"\0" * 9999)
    statuses = collections.Counter()
    host, port = address.removeprefix("http://").split(":")
    body = {"model": NAME, "messages": messages(bad.as_uri(), "why?")}
    good = next(folder.rglob("0*.mp4")).as_uri()
    other = {"model": NAME, "messages": messages(good, "which?")}
    while not ended.wait(0.2):
        request = urllib.request.Request(
            f"{address}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request).close()
            statuses[200] += 1
        except urllib.error.HTTPError as error:
            statuses[error.code] += 1
        content = json.dumps(other).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        head += "Content-Type: application/json\r\n"
        head += f"Content-Length: {len(content)}\r\n\r\n"
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode() + content)
        statuses["broken off"] += 1
    return {str(name): number for name, number in statuses.items()}


def load(address, folder, rows):
    """Answers and seconds of all requests, the time of all, disturbances."""
    client = openai.OpenAI(
        base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=600
    )
    numbers = range(args.requests)
    asked = [rows[i % len(rows)] for i in numbers]
    ask(client, 0, rows[0])  # Compiles, or loads the first kernels.
    ended, disturbed = threading.Event(), None
    with (
        client,
        concurrent.futures.ThreadPoolExecutor(args.clients) as threads,
        concurrent.futures.ThreadPoolExecutor(1) as beside,
    ):
        if not args.undisturbed:
            disturbed = beside.submit(disturb, address, folder, ended)
        start = time.perf_counter()
        clients = [client] * len(asked)
        tasks = [
            threads.submit(ask, *each) for each in zip(clients, numbers, asked)
        ]
        answers = [task.result() for task in tasks]
        seconds = time.perf_counter() - start
        ended.set()
        disturbed = disturbed and disturbed.result()
    return answers, seconds, disturbed


def metric(address, name):
    with urllib.request.urlopen(f"{address}/metrics") as response:
        lines = response.read().decode().splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith(f"{name} "))


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows = keras_stts.datasets.shapes.generate(folder, "test", 25)
        rows = rows[: args.requests]
        model = keras_stts.VideoVLM.from_preset(NAME, sampler="greedy")
        expected = []
        for i in range(0, len(rows), 4):
            part = rows[i : i + 4]
            x = {"videos": [row["video"] for row in part]}
            x["prompts"] = [row["question"] for row in part]
            expected += model.generate(x)
        del model
        with server(folder) as address:
            answers, seconds, disturbed = load(address, folder, rows)
            names = ("keras_stts_batch_requests_sum", "_count")
            total = metric(address, names[0])
            batches = metric(address, names[0].replace("_sum", names[1]))
    texts = [text for text, _ in answers]
    times = sorted(each for _, each in answers)
    wanted = [expected[i % len(expected)] for i in range(len(texts))]
    lost = [str(text)[:99] for text in texts if not isinstance(text, str)]
    result = {
        "requests": len(texts),
        "clients": args.clients,
        "replicas": args.replicas,
        "options": args.options,
        "lost": len(lost),
        "errors": lost[:3],
        "different": sum(a != b for a, b in zip(texts, wanted)) - len(lost),
        "disturbed": disturbed,
        "requests_a_second": round(len(texts) / seconds, 2),
        "seconds_median": round(statistics.median(times), 3),
        "seconds_9_of_10": round(times[int(0.9 * len(times))], 3),
        "requests_a_batch": round(total / batches, 2),
        "backend": args.backend,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("keras", args.backend, "starlette", "uvicorn")
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
    }
    print(json.dumps(result))
    if args.output:
        args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
