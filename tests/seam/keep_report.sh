#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# keep_report.sh FOLDER COMMAND...: runs a compiler, puts what its assembler says of each kernel (ptxas -v) into
# FOLDER/OBJECT.txt instead of the terminal, and lets everything else through.
folder=$1
shift
object=
previous=
for word in "$@"; do
  [ "$previous" = -o ] && object=${word##*/}
  previous=$word
done
said=$folder/$object.txt
"$@" 2>"$said"
status=$?
# C7519: where a branch has begun products, ptxas adds a wait for registers, which costs next to nothing.
grep -v -E "^ptxas info *: *(Compiling|Function|Used|Compile time|[0-9]+ bytes|\(C7519\))|^ *[0-9]+ bytes stack|^$" "$said" >&2
exit $status
