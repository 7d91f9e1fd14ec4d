#!/bin/busybox sh
# The first process of the built-in guest: Debian's kernel brings it up from the initial RAM file system.
/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin /proc /sys /dev /run /tmp /root /var/log
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=xterm

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,gid=5,mode=0620 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp

# What the kernel has as modules, in the order in which they need each other.
while read -r module; do
  insmod "/lib/modules/$module.ko" 2>/dev/null
done </lib/modules/order

hostname -F /etc/hostname
ip link set lo up 2>/dev/null
# Messages of the kernel would run through what is typed; errors still appear.
echo 4 >/proc/sys/kernel/printk

# The power button of ACPI: shut down in order.
acpid -c /etc/acpi -l /var/log/acpid.log -p /run/acpid.pid 2>/dev/null

printf '\n'
cat /etc/motd
printf '\n'

# A shell on the console, with job control, for as long as the machine runs.
cd /root
while :; do
  setsid -c /bin/sh -i </dev/console >/dev/console 2>&1
done
