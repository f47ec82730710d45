#!/bin/sh
# Becomes the first process of a node. Runs inside the node's new namespaces (mount, pid, uts, cgroup, net).
# Usage: node-root.sh NAME DIR CHECKOUT INIT CGROUP_VERSION HIERARCHY...
#   DIR/etc      goes over /etc; DIR/var-lib and DIR/var-log become /var/lib and /var/log (disk: images live there)
# The root is an overlay over the machine's own: programs and libraries are the machine's, and whatever the node
# writes (kubelet plug-in folders, host paths of pods, certs.d) stays in the node.
set -eu
name=$1 dir=$2 checkout=$3 init=$4 cgroups=$5
shift 5

mount --make-rprivate /
# The writable layer cannot lie below the machine's root, which is the lower layer: the kernel refuses the loop.
mount -t tmpfs -o mode=755 "insitu-$name" "$dir/root"
mkdir "$dir/root/upper" "$dir/root/work" "$dir/root/merged"
root=$dir/root/merged
mount -t overlay -o "lowerdir=/,upperdir=$dir/root/upper,workdir=$dir/root/work" "insitu-$name" "$root"
if mountpoint -q /usr; then mount --rbind /usr "$root/usr"; fi

mount -t proc proc "$root/proc"
# As systemd does on a real node. The handlers are the kernel's: all nodes see the same.
if grep -qw binfmt_misc /proc/filesystems; then mount -t binfmt_misc binfmt_misc "$root/proc/sys/fs/binfmt_misc"; fi
mount -t sysfs sysfs "$root/sys"
if [ "$cgroups" = 2 ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
  for hierarchy; do
    mkdir "$root/sys/fs/cgroup/$hierarchy"
    case $hierarchy in
      systemd) options=none,name=systemd ;;
      *) options=$hierarchy ;;
    esac
    mount -t cgroup -o "$options" cgroup "$root/sys/fs/cgroup/$hierarchy"
  done
fi
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mkdir -p "$root/run/lock" "$root/var/lib" "$root/var/log"
mount --bind "$dir/var-lib" "$root/var/lib"
mount --bind "$dir/var-log" "$root/var/log"
mkdir -p "$root$checkout"
mount --rbind "$checkout" "$root$checkout"

# The machine's own settings for the same programs must not leak into a node.
rm -rf "$root/etc/containerd" "$root/etc/cni" "$root/etc/kubernetes" "$root/etc/resolv.conf" "$root/etc/buildkit"
cp -a "$dir/etc/." "$root/etc/"

mkdir "$root/.old"
cd "$root"
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
# As systemd does on a real node; without it nothing a pod mounts could reach the node.
mount --make-rshared /
hostname "$name"
exec "$init" init
