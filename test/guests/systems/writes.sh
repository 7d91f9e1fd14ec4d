#!/bin/sh
# The first program of a guest whose plug is pulled while it writes. "found N": the last of the files that were kept
# is still there; "kept N": another one is on the disk for sure.
exec >/dev/ttyS0 2>&1
mkdir -p /var/writes
cd /var/writes || exit 1

content() { seq $(($1 * 100)) $(($1 * 100 + 40000)); }

n=0
damaged=
for file in kept.*; do
  [ -e "$file" ] || continue
  i=${file#kept.}
  [ "$i" -gt "$n" ] && n=$i
  content "$i" | cmp -s - "$file" || damaged="$damaged $file"
done
echo "found $n damaged:$damaged."

# Files and folders that come, grow and go, of which nothing is promised.
churn() {
  while :; do
    for j in 1 2 3 4 5 6 7 8; do
      mkdir -p "folder.$j"
      dd if=/dev/urandom of="folder.$j/grows" bs=64k count="$((j * 4))" oflag=append conv=notrunc status=none
      ln -f "folder.$j/grows" "folder.$j/linked"
      mv "folder.$j/linked" "moved.$j"
    done
    rm -rf folder.* moved.*
  done
}
churn &

while :; do
  n=$((n + 1))
  content "$n" >"new.$n"
  sync "new.$n"
  mv "new.$n" "kept.$n"
  sync
  echo "kept $n"
  rm -f "kept.$((n - 20))"
done
