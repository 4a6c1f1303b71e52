# Start of a C program: each thread has a stack of its own and calls main with the argument it was
# started with. What main returns on thread 0 is reported at `tohost`: 0 as a pass (1), any other n
# as "test n failed" (n << 1 | 1).
#define STACK_LOG2 10

.section .text.start, "ax"
.globl _start
_start:
    csrr t0, mhartid
    slli t0, t0, STACK_LOG2
    la sp, __stack_top
    sub sp, sp, t0
    call main
    csrr t0, mhartid
    bnez t0, halt
    slli a0, a0, 1
    ori a0, a0, 1
    la t0, tohost
    sd a0, 0(t0)
halt:
    ecall                   # nothing handles traps: the thread halts

.section .tohost, "aw"
.balign 64
.globl tohost
tohost:
    .dword 0
