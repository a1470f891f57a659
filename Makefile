# Short names for what meson and ninja do; build/weir is the program.
PREFIX ?= /usr/local

all: build/build.ninja
	ninja -C build
build/build.ninja:
	meson setup build --prefix $(PREFIX)
check:
	./check
fast: ; ./check --fast
install: all
	meson install -C build --no-rebuild
asan tsan:
	test -d build-$@ || meson setup build-$@ -Db_sanitize=$(if $(filter tsan,$@),thread,address$(comma)undefined)
	ninja -C build-$@ && meson test -C build-$@ --no-suite house --print-errorlogs
fuzz:
	test -d build-fuzz || CC=clang-14 meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
	ninja -C build-fuzz
bench: all
	meson test -C build --benchmark --verbose
format:
	tools/check-format --fix
comma := ,
.PHONY: all check fast install asan tsan fuzz bench format
