#!/bin/busybox sh
# The first process of the bench's guest. The kernel hands `disk=DEVICE` and `jobs=…` of its command line on as variables.
/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin /proc /sys /dev
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for folder in /lib/modules /lib/ide; do
  while read -r module; do
    insmod "$folder/$module.ko" 2>/dev/null
  done <"$folder/order"
done
until [ -b "$disk" ]; do sleep 0.1; done
/bench/disk "$disk" "$jobs"
poweroff -f
