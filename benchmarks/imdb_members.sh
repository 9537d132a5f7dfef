#!/usr/bin/env bash
# The members of the teacher of recipes/imdb-students.toml, stage by stage: none learns from another.
#   benchmarks/imdb_members.sh DIR RUN      (DIR: IMDb's train, test and unlabeled files)
set -euo pipefail
recipe="$(dirname "$0")/../recipes/imdb-members.toml" dir=$1 run=$2

understudy prepare "$recipe" --data "$dir" --out "$run/data"
understudy train "$recipe" --data "$run/data" --out "$run/teacher"

ship() { # ship MODEL FILES: ONNX, INT8, calibrated
    understudy export "$1" --data "$run/data" --out "$2fp32"
    understudy quantize "$2fp32" --data "$run/data" --out "$2int8" --samples 64
    for file in "$2fp32" "$2int8"; do understudy calibrate "$file" --data "$run/data"; done
}

ship "$run/teacher" "$run/teacher-"
for name in linear pooled; do
    home="$run/students/$name"
    understudy distill "$recipe" --student "$name" --no-teacher --teacher "$run/teacher" --data "$run/data" --out "$home/torch"
    ship "$home/torch" "$home/"
done
