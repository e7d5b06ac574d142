#!/usr/bin/env python3
"""Real clients against `simctl serve`: SDKs, coding agents, load generators. Installs each by name and version in a folder
of its own, runs it, and prints a table: passed, failed or skipped, with what was seen.

    sim/tests/clients/real_clients.py SIMCTL FOLDER [CLIENT ...]

Without names all clients but guidellm, which brings 3 GB (torch). Needs python3 with venv and PyPI; for opencode and
qwen-code node and npm. What cannot be had is skipped, with the reason. Ends with 0 where all passed, 1 where one failed,
77 where none failed and some were skipped.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSIONS = {
    "openai": "3.57.0",
    "litellm": "1.110.2",
    "code-puppy": "0.0.946",
    "opencode": "1.18.33",
    "qwen-code": "0.24.4",
    "aiperf": "0.13.0",
    "guidellm": "0.8.1",
}
NPM = {"opencode": "opencode-ai", "qwen-code": "@qwen-code/qwen-code"}
LARGE = ["guidellm"]
FINAL = "There are two files, and nothing is left to do."
PROMPT = "List the files."
# What a load generator may differ from the prediction by: a part of it, or so many milliseconds.
PART, MILLISECONDS = 0.05, 10.0

MACHINE = """
[machine]
model = "llama-3.1-8b"
wafers = {wafers}
users = 4
context = {context}
[service]
prefix_cache = true
"""


class Skipped(Exception):
    """A client that cannot be had."""


class Failed(Exception):
    """A client that saw something else than it should."""


def expect(holds, words):
    if not holds:
        raise Failed(words)


class Server:
    """`simctl serve` on a free port, until it is closed."""

    def __init__(self, tools, name, *flags, wafers=2, context=65536):
        machine = tools.write(f"{name}.toml", MACHINE.format(wafers=wafers, context=context))
        self.log = (tools.folder / f"{name}.log").open("w")
        command = [tools.simctl, "serve", machine, "--listen", "127.0.0.1:0", *map(str, flags)]
        self.process = subprocess.Popen(command, stderr=self.log, stdout=subprocess.DEVNULL)
        for _ in range(600):
            found = re.search(r"listening on (http://[^/]+)/v1", Path(self.log.name).read_text())
            if found:
                self.root = found[1]
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        self.close()
        raise Failed(f"the server does not start: {Path(self.log.name).read_text()}")

    def url(self):
        return self.root + "/v1"

    def get(self, path):
        with urllib.request.urlopen(self.root + path, timeout=30) as answered:
            return answered.read().decode()

    def count(self, name, *labels):
        """The sum of a metric over its rows that hold these labels."""
        rows = [row for row in self.get("/metrics").splitlines() if row.startswith(name)]
        rows = [row for row in rows if all(label in row for label in labels)]
        return round(sum(float(row.rsplit(" ", 1)[1]) for row in rows))

    def first_token(self):
        """Mean seconds to the first token, as the server counts them."""
        rows = [row for row in self.get("/metrics").splitlines() if row.startswith("vllm:time_to_first_token_seconds_")]
        of = {row.split("{")[0].rsplit("_", 1)[1]: float(row.rsplit(" ", 1)[1]) for row in rows if "bucket" not in row}
        return of["sum"] / of["count"]

    def refused(self):
        return self.count("wafersim:requests_refused_total")

    def post(self, body, path="/v1/chat/completions"):
        """Status and JSON of an answer."""
        request = urllib.request.Request(self.root + path, json.dumps(body).encode(), {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answered:
                return answered.status, json.loads(answered.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Tools:
    """Where things are, and how clients are had."""

    def __init__(self, simctl, folder):
        self.simctl, self.folder = str(Path(simctl).resolve()), Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def run(self, command, patience, **more):
        """Exit code, stdout and stderr; the whole group of processes ends with its time."""
        with subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **more,
        ) as process:
            try:
                out, err = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                return None, out, err
            return process.returncode, out, err

    def python(self, package):
        """The folder with the programs of a package from PyPI."""
        place = self.folder / f"{package}-{VERSIONS[package]}"
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            for command in (
                [sys.executable, "-m", "venv", place],
                [place / "bin/pip", "install", "-q", "--retries", "1", f"{package}=={VERSIONS[package]}"],
            ):
                code, _, err = self.run(command, 1800)
                if code != 0:
                    raise Skipped(f"it cannot be installed: {(err.strip() or 'too slow').splitlines()[-1]}")
            (place / "ready").touch()
        return place / "bin"

    def node(self, client):
        """The folder with the programs of a package from npm."""
        if not shutil.which("npm"):
            raise Skipped("there is no npm")
        place = self.folder / f"{client}-{VERSIONS[client]}"
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            package = f"{NPM[client]}@{VERSIONS[client]}"
            code, _, err = self.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", place, package], 1800)
            if code != 0:
                raise Skipped(f"it cannot be installed: {(err.strip() or 'too slow').splitlines()[-1]}")
            (place / "ready").touch()
        return place / "node_modules/.bin"

    def home(self, name, files):
        """An environment of its own, with configuration files."""
        home = self.folder / f"home-{name}"
        shutil.rmtree(home, ignore_errors=True)
        for path, text in files.items():
            self.write(home / path, text)
        (home / "work").mkdir(parents=True, exist_ok=True)
        (home / "work/one.txt").write_text("one\n")
        (home / "work/two.txt").write_text("two\n")
        keep = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "SSL_CERT_FILE", "TMPDIR")}
        return home, {
            **keep,
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_STATE_HOME": str(home / "state"),
        }


# The endpoint by itself, as clients.md E1 has it: cut streams, strictness, both shapes of errors, hanging up.


def endpoint(tools):
    hello = [{"role": "user", "content": "hello"}]
    with Server(tools, "strict", "--strict", "cerebras", "--error-shape", "cerebras") as server:
        status, body = server.post({"messages": hello, "store": True})
        expect((status, body.get("code")) == (400, "wrong_api_format"), f"strict: {status} {body}")
    with Server(tools, "lenient", "--speed", "0.5") as server:
        status, _ = server.post({"messages": hello, "store": True, "max_tokens": 2})
        expect(status == 200, f"an unknown field gives {status}")
        status, body = server.post({"messages": []})
        expect(status == 400 and body["error"]["param"] == "messages", f"{status} {body}")
        request = urllib.request.Request(
            server.url() + "/chat/completions",
            json.dumps({"messages": hello, "stream": True, "ignore_eos": True, "max_tokens": 50_000}).encode(),
            {"content-type": "application/json"},
        )
        open_stream = urllib.request.urlopen(request, timeout=30)
        open_stream.read(500)
        during = json.loads(server.get("/live"))["in_service"]
        open_stream.close()
        freed = time.monotonic()
        while json.loads(server.get("/live"))["in_service"] > 0 and time.monotonic() - freed < 10:
            time.sleep(0.01)
        freed = time.monotonic() - freed
        expect(during == 1 and freed < 5, f"{during} served; the slot is free after {freed:.1f} s")
        # 64 streams of different lengths: each ends with a reason.
        for tokens in range(1, 65):
            status, body = server.post({"messages": hello, "max_tokens": tokens})
            reason = body["choices"][0]["finish_reason"] if status == 200 else None
            expect(reason in ("stop", "length"), f"{tokens} tokens: {status} {reason}")
    return f"strict 400 wrong_api_format, unknown fields let through, both shapes; a hang-up frees its slot in {freed * 1e3:.0f} ms"


# SDKs.


def openai(tools):
    python = tools.python("openai") / "python"
    script = tools.write(
        "openai-script.toml",
        """
        [[answer]]
        contains = "list the files"
        has_tool = "list_files"
        tool = "list_files"
        arguments = { directory = "." }
        [[answer]]
        after_tool = true
        text = "There are two files."
        [[answer]]
        contains = "break the stream"
        tokens = 9
        fault = { kind = "error", after = 3 }
        [[answer]]
        contains = "cut the stream"
        tokens = 9
        fault = { kind = "cut", after = 3 }
        """,
    )
    plan = tools.write("openai-plan.toml", "requests = { minute = 1 }\n")
    small = {"wafers": 1, "context": 8192}
    with (
        Server(tools, "openai-limited", "--speed", 60, "--plan", plan, **small) as limited,
        # One user of this machine has 3,743 tok/s at first.
        Server(tools, "openai-free", "--speed", 0.535, "--script", script, **small) as free,
    ):
        code, out, err = tools.run([python, HERE / "openai_client.py", limited.url(), free.url()], 300)
    expect(code == 0, (out + err).strip()[-500:])
    return "; ".join(out.strip().splitlines()[:-1])


LITELLM = """
import litellm, sys
def ask(base, **more):
    return litellm.completion(model="openai/q", api_base=base, api_key="x", max_tokens=9, num_retries=0, max_retries=0,
                              messages=[{"role": "user", "content": "hello"}], **more)
chunks = list(ask(sys.argv[2], stream=True, stream_options={"include_usage": True}))
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
usage = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)][-1]
assert len(text.split()) == 9 == usage.completion_tokens, (text, usage)
for asked in range(1, 100):
    try:
        ask(sys.argv[1])
    except litellm.RateLimitError as error:
        break
print(f"streams with usage; RateLimitError at request {asked} of a minute with 15")
assert asked == 16, asked
"""


def litellm(tools):
    python = tools.python("litellm") / "python"
    program = tools.write("litellm_client.py", LITELLM)
    plan = tools.write("litellm-plan.toml", "requests = { minute = 15 }\n")
    # Slow, so that no second request is refilled meanwhile.
    with Server(tools, "litellm", "--plan", plan, "--speed", 0.05) as limited, Server(tools, "litellm-free") as free:
        home, environment = tools.home("litellm", {})
        environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        code, out, err = tools.run([python, program, limited.url(), free.url()], 300, env=environment, cwd=home)
    expect(code == 0, (out + err).strip()[-500:])
    return out.strip().splitlines()[-1]


# Coding agents: a prompt with a tool call, then the requests of one that is refused for ever.


def script(tools, name, offered, tool, arguments):
    """Calls `tool` where `offered` is among the tools of a request: side agents have fewer."""
    fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in arguments.items())
    return tools.write(
        f"{name}-script.toml",
        f"""
        [[answer]]
        has_tool = "{offered}"
        after_tool = false
        tool = "{tool}"
        arguments = {{ {fields} }}
        [[answer]]
        after_tool = true
        text = "{FINAL}"
        """,
    )


def agent(tools, name, call, start, profile):
    """`call` is what a script needs; `start(url)` gives command, environment and folder; `profile` the requests of an agent
    that is refused for ever, since too many wait or for a quota; how many of them an SDK says are retries; and the seconds
    that they take at most."""
    # The free plan of Qwen3-Coder: what one prompt with a tool call reserves fits, so that nothing is sent twice.
    plan = tools.write("minute-plan.toml", "requests = { minute = 10 }\ntokens = { minute = 150000 }\n")
    with Server(tools, name, "--script", script(tools, name, *call), "--plan", plan) as server:
        command, environment, folder = start(server.url())
        code, out, err = tools.run(command, 240, env=environment, cwd=folder)
        calls = server.count("vllm:request_success_total", 'finished_reason="tool_calls"')
        stops = server.count("vllm:request_success_total", 'finished_reason="stop"')
        refused = server.refused()
    tools.write(f"{name}.out", out + err)
    expect(code == 0, f"it ended with {code}: {(out + err).strip()[-300:]}")
    # Words may be broken over lines of a terminal.
    said = " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out + err).split())
    expect(calls == 1 and stops >= 1, f"{calls} tool calls, {stops} other answers")
    expect(refused == 0, f"{refused} requests were refused under 10 requests and 150,000 tokens a minute")
    expect("nothing is left to do" in said, f"the last answer is not shown: {said[-300:]}")
    counts, sdk, patience = profile
    seen = []
    for why, plan, wanted in (("full", "queue = 0\n", counts[0]), ("quota", "tokens = { minute = 1 }\n", counts[1])):
        with Server(tools, f"{name}-{why}", "--plan", tools.write(f"{why}-plan.toml", plan), "--speed", 1000) as server:
            command, environment, folder = start(server.url())
            code, out, err = tools.run(command, patience, env=environment, cwd=folder)
            refused = server.refused()
            # Retries of the SDK, as it says itself; those of other layers come with the same number again.
            retried = server.count("wafersim:requests_received_total", "retry=")
            retried -= server.count("wafersim:requests_received_total", 'retry="0"')
            retried -= server.count("wafersim:requests_received_total", 'retry="unknown"')
        tools.write(f"{name}-{why}.out", out + err)
        end = "" if code is not None else f", still at it after {patience} s"
        seen.append(f"{why} {refused} ({retried} of them retries of an SDK){end}")
        expect(retried == sdk, f"{retried} retries of its SDK, not {sdk}")
        expect(refused == wanted, f"refused for ever ({why}) it sends {refused} requests{end}, not {wanted}")
    return f"one tool call, {stops} other answer(s); requests when refused for ever: {'; '.join(seen)}"


def code_puppy(tools):
    program = tools.python("code-puppy") / "code-puppy"

    def start(url):
        model = {
            "type": "custom_openai",
            "name": "q",
            "custom_endpoint": {"url": url, "api_key": "x"},
            "context_length": 65536,
        }
        home, environment = tools.home(
            "code-puppy",
            {
                "data/code_puppy/extra_models.json": json.dumps({"wafersim": model}),
                "config/code_puppy/puppy.cfg": "[puppy]\npuppy_name = p\nowner_name = o\n",
            },
        )
        return [program, "-m", "wafersim", "-p", PROMPT], environment, home / "work"

    # As `simctl stream` has it: 6 of the transport in 3 of the SDK in 5 of the agent.
    call = ("list_files", "list_files", {"directory": "."})
    return agent(tools, "code-puppy", call, start, ((90, 90), 60, 400))


def opencode(tools):
    program = tools.node("opencode") / "opencode"

    def start(url):
        models = {"q": {"name": "q", "limit": {"context": 65536, "output": 32768}}}
        provider = {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": url, "apiKey": "x"}, "models": models}
        config = {
            "model": "wafersim/q",
            "small_model": "wafersim/q",
            "autoupdate": False,
            "share": "disabled",
            "provider": {"wafersim": provider},
        }
        home, environment = tools.home("opencode", {"work/opencode.json": json.dumps(config)})
        return [program, "run", PROMPT], environment, home / "work"

    # 6 of the prompt, as the profile has it, and 3 of the title beside it. The text of a refused quota of tokens, "too many
    # tokens", it takes for a context that is too long: it has the session summarised, once, and ends.
    call = ("bash", "bash", {"command": "ls", "description": "Lists files"})
    return agent(tools, "opencode", call, start, ((9, 5), 0, 400))


def qwen_code(tools):
    program = tools.node("qwen-code") / "qwen"
    home, environment = tools.home("qwen-code", {})
    work = home / "work"

    def start(url):
        more = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": url, "OPENAI_MODEL": "q"}
        return [program, "--auth-type", "openai", "-p", PROMPT], {**environment, **more}, work

    # Two tries of the outermost layer, a minute apart, each of 4 of the SDK in 7 of its own; the next comes two minutes later.
    return agent(tools, "qwen-code", ("tool_search", "glob", {"pattern": "*.txt"}), start, ((56, 56), 42, 150))


# Load generators, against what `simctl stream` predicts for the same load.


def outcome(tools, name, load, *more):
    """What `simctl stream` says of a load."""
    scenario = tools.write(f"{name}-predicted.toml", MACHINE.format(wafers=2, context=65536) + load)
    code, out, err = tools.run([tools.simctl, "stream", scenario, "--format", "json", *more], 300)
    expect(code == 0, err)
    return json.loads(out)["outcome"]


def predicted(outcome, speed):
    return {
        "first token": outcome["first_token"]["mean"] * 1e3 / speed,
        "between tokens": outcome["per_output_token"]["mean"] * 1e3 / speed,
        "tok/s": outcome["tokens_per_second"]["mean"] * speed,
    }


def agree(seen, predicted):
    words, wrong = [], []
    for name, value in predicted.items():
        difference = seen[name] - value
        words.append(f"{name} {seen[name]:.1f}, {value:.1f} predicted ({difference / value:+.1%})")
        allowed = max(value * PART, MILLISECONDS if name == "first token" else 0.0)
        if not abs(difference) <= allowed:
            wrong.append(name)
    expect(not wrong, f"{', '.join(wrong)} differ(s): {'; '.join(words)}")
    return "; ".join(words)


# At a hundredth of the speed what clients take for themselves, some milliseconds a request, counts for little.
SLOW, OUTPUT = 0.01, 100


def aiperf(tools):
    """A trace with arrivals that do not wait for answers, written by `simctl stream`: so the load is the same for both. In a
    closed loop users ask again when their client is ready, and meet in other phases than in the prediction."""
    program = tools.python("aiperf") / "aiperf"
    home, environment = tools.home("aiperf", {})
    # Its vocabulary o200k_base is fetched from elsewhere; litellm's package has it in the form of that cache.
    found = next(iter(tools.folder.glob("litellm-*/lib/python*/site-packages/litellm/litellm_core_utils/tokenizers")), None)
    if found:
        environment["TIKTOKEN_CACHE_DIR"] = str(found)
    load = f"[load]\nkind = 'open'\nrate = 40.0\nprompt = {{ median = 200 }}\noutput = {{ median = {OUTPUT} }}\n"
    trace = tools.folder / "aiperf-load.jsonl"
    trace.unlink(missing_ok=True)
    outcome(tools, "aiperf-load", load + "[run]\nwindow = 1.5\n", "--write-load", trace)
    rows = [json.loads(row) for row in trace.read_text().splitlines()]
    slow = [{**row, "timestamp": round(row["timestamp"] / SLOW)} for row in rows]
    slow = tools.write("aiperf-slow.jsonl", "".join(json.dumps(row) + "\n" for row in slow))
    out, record = home / "out", home / "record.jsonl"
    with Server(tools, "aiperf", "--speed", SLOW, "--record", record) as server:
        flags = "--endpoint-type chat --streaming --tokenizer builtin --use-server-token-count --extra-inputs ignore_eos:true \
            --custom-dataset-type mooncake_trace --fixed-schedule --ui none".split()
        command = [program, "profile", "-m", "q", "-u", server.root, *flags, "--input-file", slow, "--output-artifact-dir", out]
        code, said, err = tools.run(command, 900, env=environment, cwd=home)
        tools.write("aiperf.out", said + err)
        expect(code == 0, (said + err).strip()[-400:])
        first = server.first_token()
    seen = json.loads((out / "profile_export_aiperf.json").read_text())
    seen = {
        "first token": seen["time_to_first_token"]["avg"],
        "between tokens": seen["inter_token_latency"]["avg"],
        "tok/s": seen["output_token_throughput"]["avg"],
    }
    # The prompts that it makes up are of so many tokens of its vocabulary; the server counts others.
    recorded = [json.loads(row) for row in record.read_text().splitlines()]
    expect(len(recorded) == len(rows), f"{len(recorded)} requests came of {len(rows)}")
    rows = [{**row, "input_length": came["input_length"], "hash_ids": came["hash_ids"]} for row, came in zip(rows, recorded)]
    same = tools.write("aiperf-same.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    again = outcome(tools, "aiperf", f"[load]\nkind = 'trace'\nfile = '{same}'\n[run]\nwindow = 100\n")
    return f"{len(rows)} requests of a trace, first token {first * 1e3:.1f} on the server: {agree(seen, predicted(again, SLOW))}"


TOKENIZER = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers, decoders, trainers
from transformers import PreTrainedTokenizerFast
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<eos>"])
tokenizer.train([__file__], trainer)
PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>").save_pretrained(sys.argv[1])
"""


def guidellm(tools):
    programs = tools.python("guidellm")
    home, environment = tools.home("guidellm", {})
    environment["HF_HUB_OFFLINE"] = "1"
    code, out, err = tools.run([programs / "python", tools.write("make_tokenizer.py", TOKENIZER), home / "tok"], 300)
    expect(code == 0, err[-400:])
    with Server(tools, "guidellm", "--speed", SLOW) as server:
        flags = f"--profile kind=synchronous --constraint kind=max_requests,count=20 \
            --data kind=synthetic_text,prompt_tokens=200,output_tokens={OUTPUT} \
            --tokenizer kind=huggingface_auto,model={home}/tok --output kind=json,path={home}/out.json".split()
        command = [programs / "guidellm", "run", "--backend", f"kind=openai_http,target={server.root},model=q", *flags]
        code, said, err = tools.run(command, 900, env=environment, cwd=home)
        tools.write("guidellm.out", said + err)
        expect(code == 0, (said + err).strip()[-400:])
        prompt = server.count("vllm:prompt_tokens_total") // server.count("vllm:request_success_total")
    metrics = json.loads((home / "out.json").read_text())["benchmarks"][0]["metrics"]
    mean = lambda name: metrics[name]["successful"]["mean"]  # noqa: E731
    seen = {
        "first token": mean("time_to_first_token_ms"),
        "between tokens": mean("inter_token_latency_ms"),
        "tok/s": mean("output_tokens_per_second"),
    }
    load = f"[load]\nusers = 1\nprompt = {{ median = {prompt} }}\noutput = {{ median = {OUTPUT} }}\n[run]\nwindow = 10\n"
    return agree(seen, predicted(outcome(tools, "guidellm", load), SLOW))


CLIENTS = {
    "endpoint": endpoint,
    "openai": openai,
    "litellm": litellm,
    "code-puppy": code_puppy,
    "opencode": opencode,
    "qwen-code": qwen_code,
    "aiperf": aiperf,
    "guidellm": guidellm,
}


def main():
    if len(sys.argv) < 3 or any(name not in CLIENTS for name in sys.argv[3:]):
        sys.exit(f"wanted: SIMCTL FOLDER [CLIENT ...], of {', '.join(CLIENTS)}")
    tools = Tools(sys.argv[1], sys.argv[2])
    rows = []
    for name, client in CLIENTS.items():
        start = time.monotonic()
        try:
            if sys.argv[3:] and name not in sys.argv[3:]:
                continue
            if not sys.argv[3:] and name in LARGE:
                print(f"{name:<11} {VERSIONS[name]:<9} by name  only: it is large", flush=True)
                continue
            said, result = client(tools), "passed"
        except Skipped as why:
            said, result = str(why), "skipped"
        except Failed as why:
            said, result = str(why), "FAILED"
        rows.append((name, VERSIONS.get(name, "-"), result))
        print(f"{name:<11} {VERSIONS.get(name, '-'):<9} {result:<8} {time.monotonic() - start:5.0f} s  {said}", flush=True)
    results = [result for _, _, result in rows]
    sys.exit(1 if "FAILED" in results else 77 if "skipped" in results else 0)


if __name__ == "__main__":
    main()
