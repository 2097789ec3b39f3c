//! What stands at the end of every command's help and manual page: command lines that work when the names are replaced.

const ALL: &[(&str, &str)] = &[
    (
        "attack",
        "  psescope attack resnet50.onnx cat.jpg --attack ifgsm --eps 8/255 --target 'red fox' --out run.pse
  psescope attack resnet50.onnx cat.jpg --attack cw --target second --json
  psescope attack resnet50.onnx cat.jpg --target top5 --seed 7
  psescope attack resnet50.onnx cat.jpg --target 277 --within cam:t0:0.7 --compare",
    ),
    (
        "pse",
        "  psescope pse run.pse --grid 14 --json
  psescope pse resnet50.onnx cat.jpg --adv adv.npy --true 281 --target 277
  psescope pse run.pse --estimate --region cam:t0:0.7 --timeline",
    ),
    (
        "cam",
        "  psescope cam resnet50.onnx cat.jpg --method gradcam++ --class 281 --png map.png
  psescope cam run.pse --is --difference --faithfulness",
    ),
    ("layers", "  psescope layers run.pse\n  psescope layers run.pse --timeline --csv"),
    (
        "units",
        "  psescope units run.pse --layer LAYER --exact --top 20\n  psescope units run.pse --layer LAYER --labels-from result.csv --json",
    ),
    (
        "mask",
        "  psescope mask run.pse --layer LAYER --top 16 --adaptive
  psescope mask run.pse --layer LAYER --units 1,5,9 --patch clean",
    ),
    (
        "grad",
        "  psescope grad resnet50.onnx -o gradient.onnx --check\n  psescope grad resnet50.onnx -o gradient.onnx --loss ce --tap LAYER",
    ),
    ("inspect", "  psescope inspect resnet50.onnx\n  psescope inspect resnet50.onnx --json"),
    ("insight", "  psescope insight run.pse"),
    ("recovery", "  psescope recovery resnet50.onnx photos/ --layer LAYER --top 5,20,50 --adaptive"),
    ("sensitivity", "  psescope sensitivity resnet50.onnx photos/ --layer LAYER"),
    ("view", "  psescope view run.pse"),
    ("export", "  psescope export run.pse --html run.html --png figure.png --npz run.npz\n  psescope export run.pse --json > run.json"),
    (
        "triage",
        "  psescope triage resnet50.onnx photos/ --attack pgd --steps 10 --out results --html results.html
  psescope triage resnet50.onnx photos/ --out results --shard 1/8
  psescope triage resnet50.onnx photos/ --steps 40 --out results --keep-runs=8GiB
  psescope triage --merge results",
    ),
    ("show", "  psescope show run.pse\n  psescope show cat.jpg"),
    (
        "dissect",
        "  psescope dissect --make-data concepts/
  psescope dissect resnet50.onnx --data concepts/ --out dissected --layer LAYER",
    ),
    ("doctor", "  psescope doctor\n  psescope doctor --json"),
    ("runtime", "  psescope runtime install\n  psescope runtime install --gpu"),
    (
        "generate",
        "  psescope generate completions bash > ~/.local/share/bash-completion/completions/psescope
  psescope generate man > ~/.local/share/man/man1/psescope.1
  psescope generate man attack | man -l -
  psescope generate config > ~/.config/psescope/config.toml
  psescope generate keys",
    ),
];

/// The examples of a command, as they end its help.
pub fn of(command: &str) -> String {
    ALL.iter().find(|(name, _)| *name == command).map_or_else(String::new, |(_, lines)| format!("Examples:\n{lines}"))
}
