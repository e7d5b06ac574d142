#!/usr/bin/env python3
"""Real clients against `simctl serve`: SDKs, coding agents, load generators. Installs each by name and version in a folder
of its own, runs it, and prints a table: passed, failed or skipped, with what was seen.

    sim/tests/clients/real_clients.py SIMCTL FOLDER [CLIENT ...]

Without names all clients but guidellm, which brings 3 GB (torch). Needs python3 with venv and PyPI; for opencode and
qwen-code node and npm. What cannot be had is skipped, with the reason. Ends with 0 where all passed, 1 where one failed,
77 where none failed and some were skipped.

Rates and times are held against what `simctl` says of the same load: by `openai` (which sees what the server says that is
true), `aiperf` and `guidellm`; a prompt with a tool call, and requests as its profile has them, by each agent; streams that
end without a reason by a script only, fields that are not known, both shapes of errors and a freed slot by `endpoint`.
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
# Seconds that an agent has to end: a computer with a load of 20 takes ten times as long as an idle one. Of an agent that
# does not end, seconds without a request after the last one that is expected.
PATIENCE, QUIET = 1200, 30

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

    def mean(self, name):
        """Mean seconds of a histogram, as the server counts them."""
        rows = [row for row in self.get("/metrics").splitlines() if row.startswith(f"vllm:{name}_seconds_")]
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

    def stream(self, body):
        """Events of a streamed answer."""
        headers = {"content-type": "application/json"}
        body = json.dumps({**body, "stream": True}).encode()
        request = urllib.request.Request(self.url() + "/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answered:
            text = answered.read().decode()
        return [event.removeprefix("data: ") for event in text.split("\n\n") if event]

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

    def run(self, command, patience, is_enough=None, **more):
        """Exit code, stdout and stderr; the whole group of processes ends with its time, or QUIET seconds after
        `is_enough`, so that what it does beyond that is seen. Without an exit code where it was ended."""
        with subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **more,
        ) as process:
            end, has_enough = time.monotonic() + patience, False
            while (left := end - time.monotonic()) > 0:
                try:
                    out, err = process.communicate(timeout=min(left, 1.0) if is_enough else left)
                    return process.returncode, out, err
                except subprocess.TimeoutExpired:
                    if is_enough and not has_enough and is_enough():
                        end, has_enough = time.monotonic() + QUIET, True
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return None, out, err

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
        # Streams of 64 lengths: each ends with one reason.
        for tokens in range(1, 65):
            *events, done = server.stream({"messages": hello, "max_tokens": tokens, "ignore_eos": True})
            choices = [choice for event in events for choice in json.loads(event)["choices"]]
            reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
            words = [choice for choice in choices if choice["delta"].get("content")]
            seen = (len(words), reasons, done)
            expect(seen == (tokens, ["length"], "[DONE]"), f"a stream of {tokens} tokens: {seen}")
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


class Refused:
    """What an agent sends where one prompt is refused for ever: the tries of its profile in `simctl stream`, `of` that many of
    its outermost layer `seen` before it waits for minutes, those of a request beside it, and how many of them an SDK says are
    retries."""

    def __init__(self, preset, sdk=0, beside=None, seen=1, of=1):
        self.preset, self.sdk, self.beside, self.seen, self.of = preset, sdk, beside, seen, of

    def wanted(self, tools, plan):
        tries, rest = divmod(simulated_tries(tools, self.preset, plan) * self.seen, self.of)
        expect(rest == 0, f"the tries of {self.preset} are no multiple of {self.of}")
        return tries + (simulated_tries(tools, self.beside, plan) if self.beside else 0)


def simulated(tools, preset, plan, requests):
    """What clients of a profile see of a plan who want so many answers, one after the other."""
    # Nobody asks again after an agent has stopped.
    again = "again = 1e6\n" if preset == "opencode" else ""
    text = f"plan = {json.dumps(plan)}\n[clients]\nprofile = '{preset}'\nnetwork = 0.0\nhost = 0.0\n{again}"
    load = f"[load]\nusers = 1\nrequests = {requests}\nprompt = {{ median = 200 }}\noutput = {{ median = 9 }}\n"
    return outcome(tools, "simulated", text + load + "[run]\nwarm_up = 0.0\nwindow = 100000\n")["clients"]


def simulated_tries(tools, preset, plan):
    """Requests of a profile for one prompt under a plan that lets nobody in."""
    seen = simulated(tools, preset, plan, 1)
    expect(seen["served"] == 0, f"{preset} was let in")
    return seen["attempts"]


def agent(tools, name, call, start, profile):
    """`call` is what a script needs; `start(url)` gives command, environment and folder; `profile` is a Refused."""
    # The free plan of Qwen3-Coder: what one prompt with a tool call reserves fits, so that nothing is sent twice.
    plan = tools.write("minute-plan.toml", "requests = { minute = 10 }\ntokens = { minute = 150000 }\n")
    with Server(tools, name, "--script", script(tools, name, *call), "--plan", plan) as server:
        command, environment, folder = start(server.url())
        code, out, err = tools.run(command, PATIENCE, env=environment, cwd=folder)
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
    seen = []
    for why, plan in (("full", "queue = 0\n"), ("quota", "tokens = { minute = 1 }\n")):
        plan = tools.write(f"{why}-plan.toml", plan)
        wanted = profile.wanted(tools, plan)
        with Server(tools, f"{name}-{why}", "--plan", plan, "--speed", 1000) as server:
            command, environment, folder = start(server.url())
            is_enough = (lambda server=server, wanted=wanted: server.refused() >= wanted) if profile.of > 1 else None
            code, out, err = tools.run(command, PATIENCE, is_enough, env=environment, cwd=folder)
            refused = server.refused()
            # Retries of the SDK, as it says itself; those of other layers come with the same number again.
            retried = server.count("wafersim:requests_received_total", "retry=")
            retried -= server.count("wafersim:requests_received_total", 'retry="0"')
            retried -= server.count("wafersim:requests_received_total", 'retry="unknown"')
        tools.write(f"{name}-{why}.out", out + err)
        end = "" if code is not None else ", and would go on"
        seen.append(f"{why} {refused} ({retried} of them retries of an SDK){end}")
        expect(refused == wanted, f"refused for ever ({why}) it sends {refused} requests{end}; {wanted} are simulated")
        expect(retried == profile.sdk, f"{retried} retries of its SDK, not {profile.sdk}")
    # With a request a minute the second waits, as its client was told. Beside a title it would be chance which one that is.
    if not profile.beside:
        plan = tools.write("one-plan.toml", "requests = { minute = 1 }\n")
        wanted = simulated(tools, profile.preset, plan, 2)["refused_quota"]
        with Server(tools, name, "--script", script(tools, name, *call), "--plan", plan, "--speed", 30) as server:
            command, environment, folder = start(server.url())
            code, out, err = tools.run(command, PATIENCE, env=environment, cwd=folder)
            refused, calls = server.refused(), server.count("vllm:request_success_total")
        tools.write(f"{name}-one.out", out + err)
        expect((code, calls) == (0, 2), f"with a request a minute it ended with {code}, {calls} answers")
        expect(refused == wanted, f"with a request a minute {refused} were refused; {wanted} are simulated")
        seen.append(f"with one a minute {refused} of {refused + calls} refused")
    return f"one tool call, {stops} other answer(s); requests when refused for ever, as simulated: {'; '.join(seen)}"


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

    # 90: 6 of the transport in 3 of the SDK in 5 of the agent; of 3 tries of the SDK the last 2 are retries.
    call = ("list_files", "list_files", {"directory": "."})
    return agent(tools, "code-puppy", call, start, Refused("code-puppy-generic", sdk=5 * 6 * 2))


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

    # 6 of the prompt, and 3 of the title beside it, which its library sends. The text of a refused quota of tokens, "too many
    # tokens", it takes for a context that is too long: it has the session summarised, once, and ends: 2, and the title's 3.
    call = ("bash", "bash", {"command": "ls", "description": "Lists files"})
    return agent(tools, "opencode", call, start, Refused("opencode", beside="ai-sdk"))


def qwen_code(tools):
    program = tools.node("qwen-code") / "qwen"
    home, environment = tools.home("qwen-code", {})
    work = home / "work"

    def start(url):
        more = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": url, "OPENAI_MODEL": "q"}
        return [program, "--auth-type", "openai", "-p", PROMPT], {**environment, **more}, work

    # 308: 4 of the SDK in 7 of its own in 11 of the stream. Two of those are waited for, a minute apart; the third would come
    # two minutes later. Of 4 tries of the SDK the last 3 are retries.
    call = ("tool_search", "glob", {"pattern": "*.txt"})
    return agent(tools, "qwen-code", call, start, Refused("qwen-code", sdk=2 * 7 * 3, seen=2, of=11))


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


class Aiperf:
    """AIPerf, what it sends its requests with, and what it says of them."""

    # Tokens of an answer are the server's count.
    FLAGS = "--endpoint-type chat --streaming --tokenizer builtin --use-server-token-count --extra-inputs ignore_eos:true --ui none"

    def __init__(self, tools):
        self.tools, self.program = tools, tools.python("aiperf") / "aiperf"
        self.home, self.environment = tools.home("aiperf", {})
        # Its vocabulary o200k_base is fetched from elsewhere; litellm's package has it in the form of that cache.
        place = "litellm-*/lib/python*/site-packages/litellm/litellm_core_utils/tokenizers"
        found = next(iter(tools.folder.glob(place)), None)
        if found:
            self.environment["TIKTOKEN_CACHE_DIR"] = str(found)

    def profile(self, name, server, *load):
        """Its figures, and when it sent each request and had its answer, in order, in seconds."""
        out = self.home / name
        command = [self.program, "profile", "-m", "q", "-u", server.root, *self.FLAGS.split(), *load]
        command += ["--output-artifact-dir", out]
        code, said, err = self.tools.run(command, 900, env=self.environment, cwd=self.home)
        self.tools.write(f"{name}.out", said + err)
        expect(code == 0, (said + err).strip()[-400:])
        seen = json.loads((out / "profile_export_aiperf.json").read_text())
        seen = {
            "first token": seen["time_to_first_token"]["avg"],
            "between tokens": seen["inter_token_latency"]["avg"],
            "tok/s": seen["output_token_throughput"]["avg"],
        }
        rows = [json.loads(row)["metadata"] for row in (out / "profile_export.jsonl").read_text().splitlines()]
        times = sorted((row["request_start_ns"] / 1e9, row["request_end_ns"] / 1e9) for row in rows)
        return seen, times


def own_time(times, users, served):
    """What a load generator with so many users takes for itself, in seconds: between an answer and the next request, and of
    a request's time what the server did not take (`served` in the mean)."""
    ends = sorted(end for _, end in times)
    between = sum(start - end for (start, _), end in zip(times[users:], ends)) / (len(times) - users)
    return between, sum(end - start for start, end in times) / len(times) - served


def closed_loop(tools, name, users, requests, prompt, own):
    """What `simctl stream` says of users who ask again after a client's own time, in seconds of the client."""
    service = f"plan = 'none'\n[clients]\nprofile = 'none'\nnetwork = 0.0\nhost = {own * SLOW:.9f}\n"
    load = f"[load]\nusers = {users}\nrequests = {requests}\nprompt = {{ median = {prompt} }}\noutput = {{ median = {OUTPUT} }}\n"
    return predicted(outcome(tools, name, service + load + "[run]\nwarm_up = 0.0\nwindow = 100\n"), SLOW)


def recorded(record, wanted):
    rows = [json.loads(row) for row in record.read_text().splitlines()]
    expect(len(rows) == wanted, f"{len(rows)} requests came of {wanted}")
    return rows


def replayed(tools, name, rows):
    """What `simctl stream` says of requests at given milliseconds."""
    same = tools.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    load = f"[load]\nkind = 'trace'\nfile = '{same}'\ntime_unit = 'ms'\n[run]\nwindow = 100\n"
    return outcome(tools, name, load)


def aiperf(tools):
    client = Aiperf(tools)
    return f"{aiperf_trace(tools, client)}. {aiperf_closed(tools, client)}"


def aiperf_trace(tools, client):
    """A trace with arrivals that do not wait for answers, written by `simctl stream`: so the load is the same for both."""
    load = f"[load]\nkind = 'open'\nrate = 40.0\nprompt = {{ median = 200 }}\noutput = {{ median = {OUTPUT} }}\n"
    trace = tools.folder / "aiperf-load.jsonl"
    trace.unlink(missing_ok=True)
    outcome(tools, "aiperf-load", load + "[run]\nwindow = 1.5\n", "--write-load", trace)
    rows = [json.loads(row) for row in trace.read_text().splitlines()]
    slow = [{**row, "timestamp": round(row["timestamp"] / SLOW)} for row in rows]
    slow = tools.write("aiperf-slow.jsonl", "".join(json.dumps(row) + "\n" for row in slow))
    record = client.home / "trace.jsonl"
    with Server(tools, "aiperf-trace", "--speed", SLOW, "--record", record) as server:
        flags = ["--custom-dataset-type", "mooncake_trace", "--fixed-schedule", "--input-file", slow]
        seen, _ = client.profile("aiperf-trace", server, *flags)
        first = server.mean("time_to_first_token") * 1e3
    # The prompts that it makes up are of so many tokens of its vocabulary; the server counts others.
    came = recorded(record, len(rows))
    rows = [{**row, "input_length": one["input_length"], "hash_ids": one["hash_ids"]} for row, one in zip(rows, came)]
    again = predicted(replayed(tools, "aiperf-trace-same", rows), SLOW)
    return f"{len(rows)} requests of a trace, first token {first:.1f} on the server: {agree(seen, again)}"


def aiperf_closed(tools, client):
    """Users who ask again when they have their answer. AIPerf takes time of its own for each request: from an answer to the
    next request, and from there to the server and back. It is measured by the clocks of both, put into the prediction as
    `clients.host`, and then the rates agree. When a prompt waits for another's hangs on that time too, so that the first token
    and the time between tokens are those of the moments at which it sent."""
    users, requests = 4, 32
    record = client.home / "closed.jsonl"
    with Server(tools, "aiperf-closed", "--speed", SLOW, "--record", record) as server:
        flags = ["--concurrency", users, "--request-count", requests]
        flags += ["--synthetic-input-tokens-mean", 200, "--output-tokens-mean", OUTPUT]
        seen, times = client.profile("aiperf-closed", server, *flags)
        whole = server.mean("e2e_request_latency")
    came = recorded(record, requests)
    between, beyond = own_time(times, users, whole)
    prompt = round(sum(row["input_length"] for row in came) / requests)
    rate = closed_loop(tools, "aiperf-closed", users, requests, prompt, between + beyond)["tok/s"]
    without = closed_loop(tools, "aiperf-at-once", users, requests, prompt, 0.0)["tok/s"]
    start = times[0][0]
    rows = [{**row, "timestamp": (sent - start) * 1e3 * SLOW} for row, (sent, _) in zip(came, times)]
    moments = predicted(replayed(tools, "aiperf-closed-same", rows), SLOW)
    first = moments["first token"] + beyond * 1e3
    return (
        f"{users} users in a closed loop, {between * 1e3:.1f} ms of its own between an answer and a request, {beyond * 1e3:.1f} ms "
        f"on the way: {agree(seen, {**moments, 'first token': first, 'tok/s': rate})}; {without:.1f} tok/s if it took no time"
    )


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
        requests = server.count("vllm:request_success_total")
        prompt = server.count("vllm:prompt_tokens_total") // requests
        whole = server.mean("e2e_request_latency")
    benchmark = json.loads((home / "out.json").read_text())["benchmarks"][0]
    mean = lambda name: benchmark["metrics"][name]["successful"]["mean"]  # noqa: E731
    done = benchmark["requests"]["successful"]
    times = sorted((row["request_start_time"], row["request_end_time"]) for row in done)
    between, beyond = own_time(times, 1, whole)
    seen = {
        "first token": mean("time_to_first_token_ms"),
        "between tokens": mean("inter_token_latency_ms"),
        "tok/s": mean("output_tokens_per_second"),
    }
    again = closed_loop(tools, "guidellm", 1, requests, prompt, between + beyond)
    again["first token"] += beyond * 1e3
    without = closed_loop(tools, "guidellm-at-once", 1, requests, prompt, 0.0)["tok/s"]
    return (
        f"one user, {between * 1e3:.1f} ms of its own between an answer and a request, {beyond * 1e3:.1f} ms on the way: "
        f"{agree(seen, again)}; {without:.1f} tok/s if it took no time"
    )


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
