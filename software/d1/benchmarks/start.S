# Start of a program on several threads: thread 0 runs main(a0) and reports its result at `tohost`
# as software/examples/start.S does; every other thread runs work(its number) and halts.
#define STACK_LOG2 10

.section .text.start, "ax"
.globl _start
_start:
    csrr t0, mhartid
    slli t1, t0, STACK_LOG2
    la sp, __stack_top
    sub sp, sp, t1
    bnez t0, other
    call main
    slli a0, a0, 1
    ori a0, a0, 1
    la t0, tohost
    sd a0, 0(t0)
    ecall                   # nothing handles traps: the thread halts
other:
    mv a0, t0
    call work
    ecall

.section .tohost, "aw"
.balign 64
.globl tohost
tohost:
    .dword 0
