# What tests/run and benches/run share: programs that must be there. Sourced, never run.

# Prints the Debian packages whose programs are missing, for one user of tests/packages.txt (tests or benches).
missing_packages() {
    local user=$1 program package users
    while read -r program package users; do
        case "$program" in '' | '#'*) continue ;; esac
        case " $users " in *" $user "*) ;; *) continue ;; esac
        find_program "$program" >/dev/null || echo "$package"
    done <"$repository/tests/packages.txt" | sort -u
}

# Where a program is; PostgreSQL's server programs stand outside the PATH on Debian.
find_program() {
    local found
    found=$(PATH="$PATH:/usr/sbin:/sbin" command -v "$1" 2>/dev/null) && [ "${found#/}" != "$found" ] && echo "$found" && return
    found=$(find /usr/lib/postgresql/*/bin -name "$1" 2>/dev/null | sort -V | tail -1)
    [ -n "$found" ] && echo "$found"
}

# Runs a command as root, or says that nobody here may.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

# Installs packages on Debian without starting their services; fails with the command to type where it may not.
install_packages() {
    [ $# -eq 0 ] && return
    if ! command -v apt-get >/dev/null || ! as_root true; then
        echo "Not installed, and not installable from here: $*"
        echo "  as root on Debian or Ubuntu: apt-get install --no-install-recommends $*"
        echo "  elsewhere: the programs named in tests/packages.txt, from the system's own packages"
        return 1
    fi
    echo "Installing $*"
    local policy=/usr/sbin/policy-rc.d made= log
    if [ ! -e $policy ]; then
        # Debian starts a daemon as soon as it is installed, unless this file says no (101).
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null && as_root chmod 755 $policy && made=1
    fi
    log=$(mktemp)
    if ! {
        as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
    } >"$log" 2>&1 </dev/null; then
        tail -20 "$log"
        [ -n "$made" ] && as_root rm -f $policy
        return 1
    fi
    [ -n "$made" ] && as_root rm -f $policy
    rm -f "$log"
}
