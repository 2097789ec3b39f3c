#!/usr/bin/env python3
"""Start-up and memory of psescope beside Python with torch: wall time, processor time and peak resident memory of whole processes, in turn.

    python benches/startup.py --program target/release/psescope --rounds 7

Cases:
  prediction  from the start of the process to a printed answer. psescope: `cam --method cam`, which reads model and photo, predicts, and
              makes a class activation map besides. Peers: the same network in torchvision with random weights (no download), predicting zeros;
              and `import torch` alone.
  attack      ten steps of IFGSM with the gradient graph built first; torch: the same loop, written out.
  frame       from the start to the first frame of the inspector on a terminal, and to the name of the predicted class on it.

Needs torch and torchvision for the peers; without them psescope is measured alone. Unix only.
"""

import argparse
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl

PREDICT = """
import torch, torchvision
torch.set_num_threads({threads})
net = torchvision.models.squeezenet1_1().eval()
with torch.inference_mode():
    print(int(net(torch.zeros(1, 3, 224, 224)).argmax()))
"""

ATTACK = """
import torch, torchvision
torch.set_num_threads({threads})
net = torchvision.models.squeezenet1_1().eval()
for parameter in net.parameters():
    parameter.requires_grad_(False)
clean = torch.rand(1, 3, 224, 224)
label, x = net(clean).argmax(1), clean.clone()
for _ in range(10):
    x.requires_grad_(True)
    grad, = torch.autograd.grad(torch.nn.functional.cross_entropy(net(x), label), x)
    x = (x.detach() + 2 / 255 * grad.sign()).clamp(clean - 8 / 255, clean + 8 / 255).clamp(0, 1)
print(int(net(x).argmax()))
"""


def process(command):
    """Wall seconds, processor seconds, MiB."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} failed: {error.decode(errors='replace').strip()[-300:]}")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def frame(command, text):
    """Seconds to the first frame and to `text` on it. Answers the questions that programs ask terminals."""
    begun = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    seen, first, found = b"", None, None
    while found is None and time.perf_counter() - begun < 30:
        if not select.select([terminal], [], [], 0.05)[0]:
            continue
        part = os.read(terminal, 1 << 16)
        if b"\x1b[c" in part:
            os.write(terminal, b"\x1b[?62;c")
        if b"\x1b[6n" in part:
            os.write(terminal, b"\x1b[1;1R")
        seen += part
        now = time.perf_counter() - begun
        # A frame is more than the switch to the alternate screen.
        if first is None and b"\x1b[?1049h" in seen and len(seen) > 600:
            first = now
        if text.encode() in seen:
            found = now
    os.write(terminal, b"q")
    time.sleep(0.2)
    os.kill(pid, 15)
    os.waitpid(pid, 0)
    os.close(terminal)
    if found is None:
        sys.exit(f"'{text}' did not appear on the inspector's screen")
    return first, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/psescope")
    parser.add_argument("--python", default=sys.executable, help="Python with torch and torchvision")
    parser.add_argument("--model", default="onnx/squeezenet1_1.onnx")
    parser.add_argument("--photo", default="samples/panda.jpg")
    parser.add_argument("--text", default="giant panda", help="what the first prediction shows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    threads = ["--threads", str(args.threads), "--device", "cpu"]
    ours = [args.program, "cam", args.model, args.photo, "--method", "cam", "--json", *threads]
    attack = [args.program, "attack", args.model, args.photo, "--attack", "ifgsm", "--steps", "10", "--json", *threads]
    cases = {"prediction psescope": ours, "attack     psescope": attack}
    if subprocess.run([args.python, "-c", "import torch, torchvision"], capture_output=True).returncode == 0:
        script = lambda text: [args.python, "-c", text.format(threads=args.threads)]
        cases |= {"prediction torch": script(PREDICT), "import     torch": script("import torch"), "attack     torch": script(ATTACK)}
    results = {name: [] for name in cases}
    for _ in range(args.rounds):
        for name, command in cases.items():
            results[name].append(process(command))
    for name, rows in results.items():
        wall, cpu, memory = (statistics.median(column) for column in zip(*rows))
        print(f"{name:20} {wall:7.3f} s  {cpu:7.3f} s of processor  {memory:6.0f} MiB", flush=True)
    inspector = [args.program, args.model, args.photo, *threads]
    first, found = (statistics.median(c) for c in zip(*(frame(inspector, args.text) for _ in range(args.rounds))))
    print(f"inspector            first frame {first:.3f} s, prediction on it {found:.3f} s")


if __name__ == "__main__":
    main()
