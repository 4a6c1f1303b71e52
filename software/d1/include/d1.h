/* Instructions of the node that RISC-V does not have, for clang and gcc.

   Generated from the instruction table by `make docs`: edit that. docs/isa.md says what each
   instruction does, docs/programming.md has a worked program.

   Arguments are those of assembly, in its order. Numbers of vector registers, masks, accumulators,
   parts, lanes and semaphores, CSRs and offsets must be constants; rs1 and rs2 are any integer or
   pointer. An instruction that writes a scalar register is an expression, any other a statement.

   The compiler keeps these instructions in order. It knows nothing of vector registers, masks and
   accumulators: they are the program's to allocate, across functions too. */
#ifndef D1_H
#define D1_H

#include <stdint.h>

/* The register of the control block at an address. */
#define D1_REGISTER(address) (*(volatile uint64_t *)(uintptr_t)(address))

/* Reads a CSR without writing it. */
#define d1_csrr(csr) d1_csrrsi(csr, 0)

#define D1_RANGE_(name, value, low, high) \
    _Static_assert((value) >= (low) && (value) <= (high), name " must be in " #low ".." #high)
/* The value of x[rs1] or x[rs2]: in a register, or x0 (`%z` prints it) where it is constant 0. */
#define D1_SCALAR_(value) "rJ"((unsigned long)(value))

/* Numbers of control and status registers. */
#define D1_CSR_MSTATUS 0x300
#define D1_CSR_MISA 0x301
#define D1_CSR_MIE 0x304
#define D1_CSR_MTVEC 0x305
#define D1_CSR_MSCRATCH 0x340
#define D1_CSR_MEPC 0x341
#define D1_CSR_MCAUSE 0x342
#define D1_CSR_MTVAL 0x343
#define D1_CSR_MIP 0x344
#define D1_CSR_MCFP8A 0x7c0
#define D1_CSR_MCFP8B 0x7c1
#define D1_CSR_MCFP8C 0x7c2
#define D1_CSR_MROUND 0x7c3
#define D1_CSR_MSEED 0x7c4
#define D1_CSR_MCYCLE 0xb00
#define D1_CSR_MINSTRET 0xb02
#define D1_CSR_CYCLE 0xc00
#define D1_CSR_INSTRET 0xc02
#define D1_CSR_MVENDORID 0xf11
#define D1_CSR_MARCHID 0xf12
#define D1_CSR_MIMPID 0xf13
#define D1_CSR_MHARTID 0xf14

/* Addresses of control registers, of thread 0 where each thread has one. */
#define D1_IDENTITY_MACHINE 0x800000
#define D1_IDENTITY_NODE 0x800008
#define D1_IDENTITY_SRAM_BYTES 0x800010
#define D1_IDENTITY_MATRIX 0x800018
#define D1_IDENTITY_VECTOR_BYTES 0x800020
#define D1_IDENTITY_THREADS 0x800028
#define D1_IDENTITY_ACCUMULATORS 0x800030
#define D1_IDENTITY_DOT_FRACTION_BITS 0x800038
#define D1_THREAD_PC 0x801000
#define D1_THREAD_ARG 0x801008
#define D1_THREAD_COMMAND 0x801010
#define D1_THREAD_STATUS 0x801018
#define D1_THREAD_CAUSE 0x801020
#define D1_THREAD_FAULT_PC 0x801028
#define D1_THREAD_FAULT_VALUE 0x801030
#define D1_THREAD_CYCLES 0x801038
#define D1_COUNTER_CYCLES 0x803000
#define D1_COUNTER_INSTRUCTIONS 0x803008
#define D1_COUNTER_MATRIX_STEPS 0x803010
#define D1_COUNTER_REQUESTS 0x803018
#define D1_COUNTER_REPLIES 0x803020
#define D1_COUNTER_FAULT_REPLIES 0x803028
#define D1_COUNTER_BANK_CONFLICTS 0x803030
#define D1_COUNTER_MATRIX_BUSY 0x803038
#define D1_COUNTER_INSTRUCTIONS_0 0x803040
#define D1_COUNTER_INSTRUCTIONS_1 0x803048
#define D1_COUNTER_INSTRUCTIONS_2 0x803050
#define D1_COUNTER_INSTRUCTIONS_3 0x803058
#define D1_COUNTER_ISSUED_ALU0 0x803060
#define D1_COUNTER_ISSUED_ALU1 0x803068
#define D1_COUNTER_ISSUED_ADDRESS0 0x803070
#define D1_COUNTER_ISSUED_ADDRESS1 0x803078
#define D1_COUNTER_ISSUED_VECTOR0 0x803080
#define D1_COUNTER_ISSUED_VECTOR1 0x803088
#define D1_COUNTER_PACKETS_SENT 0x803090
#define D1_COUNTER_STALL_FETCH 0x803098
#define D1_COUNTER_STALL_OPERAND 0x8030a0
#define D1_COUNTER_STALL_SLOT 0x8030a8
#define D1_COUNTER_STALL_QUEUE 0x8030b0
#define D1_COUNTER_STALL_ORDER 0x8030b8
#define D1_COUNTER_STALL_WAIT 0x8030c0
#define D1_COUNTER_STALL_BLOCKED 0x8030c8
#define D1_COUNTER_STALL_VECTOR_OPERAND 0x8030d0
#define D1_COUNTER_STALL_VECTOR_SLOT 0x8030d8
#define D1_COUNTER_STALL_ACCUMULATOR 0x8030e0
#define D1_COUNTER_STALL_VECTOR_BANK 0x8030e8
#define D1_COUNTER_STALL_RESULT 0x8030f0
#define D1_ECC_CORRECTED 0x804000
#define D1_ECC_UNCORRECTABLE 0x804008
#define D1_ECC_LAST_CORRECTED 0x804010
#define D1_ECC_FIRST_UNCORRECTABLE 0x804018
#define D1_ECC_SCRUB_INTERVAL 0x804020
#define D1_ECC_INJECT_DATA 0x804028
#define D1_ECC_INJECT_CHECK 0x804030
#define D1_ECC_INJECT_ADDRESS 0x804038
#define D1_SEMAPHORE_COUNT 0x805000
#define D1_TRANSFER_OUTSTANDING 0x806000
#define D1_TRANSFER_FAULTS 0x806008
#define D1_TRANSFER_FAULT_KIND 0x806010
#define D1_TRANSFER_FAULT_ADDRESS 0x806018
#define D1_ROUTETABLE_ENTRIES 0x810000
#define D1_ROUTER_EXITS 0x810200
#define D1_ROUTER_CORE_DISABLED 0x810208
#define D1_ROUTER_DROPPED 0x810210
#define D1_ROUTER_REFUSED 0x810218
#define D1_LINK_REQUEST_LOCAL 0x810240
#define D1_LINK_REQUEST_NORTH 0x810248
#define D1_LINK_REQUEST_EAST 0x810250
#define D1_LINK_REQUEST_SOUTH 0x810258
#define D1_LINK_REQUEST_WEST 0x810260
#define D1_LINK_REPLY_LOCAL 0x810280
#define D1_LINK_REPLY_NORTH 0x810288
#define D1_LINK_REPLY_EAST 0x810290
#define D1_LINK_REPLY_SOUTH 0x810298
#define D1_LINK_REPLY_WEST 0x8102a0
#define D1_SERDES_STATUS 0x818000
#define D1_SERDES_LANES 0x818008
#define D1_SERDES_SESSIONS 0x818010
#define D1_SERDES_COMMAND 0x818018
#define D1_SERDES_DISABLED 0x818020
#define D1_SERDES_LOST_REQUESTS 0x818028
#define D1_SERDES_LOST_REPLIES 0x818030
#define D1_SERDES_REFUSED 0x818038
#define D1_SERDES_BAD_ROWS 0x818040
#define D1_SERDES_BAD_FRAMES 0x818048
#define D1_SERDES_LOST_FRAMES 0x818050
#define D1_SERDES_REPLAYS 0x818058
#define D1_SERDES_RETRAINS 0x818060
#define D1_SERDES_PEER_RESETS 0x818068
#define D1_SERDES_BAD_HEADERS 0x818070
#define D1_SERDES_BOND_LOSSES 0x818078

/* csrrw rd, csr, rs1 */
#define d1_csrrw(csr, rs1) \
    __extension__({ \
        D1_RANGE_("csr", csr, 0, 4095); \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x73, 1, %[f], %[d], %z[s], x%[t]" \
            : [d] "=r"(d1_result_) \
            : [f] "i"((csr) >> 5 & 127), [s] D1_SCALAR_(rs1), [t] "i"((csr) & 31)); \
        d1_result_; \
    })

/* csrrs rd, csr, rs1: with rs1 = x0 the CSR is not written */
#define d1_csrrs(csr, rs1) \
    __extension__({ \
        D1_RANGE_("csr", csr, 0, 4095); \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x73, 2, %[f], %[d], %z[s], x%[t]" \
            : [d] "=r"(d1_result_) \
            : [f] "i"((csr) >> 5 & 127), [s] D1_SCALAR_(rs1), [t] "i"((csr) & 31)); \
        d1_result_; \
    })

/* csrrc rd, csr, rs1: with rs1 = x0 the CSR is not written */
#define d1_csrrc(csr, rs1) \
    __extension__({ \
        D1_RANGE_("csr", csr, 0, 4095); \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x73, 3, %[f], %[d], %z[s], x%[t]" \
            : [d] "=r"(d1_result_) \
            : [f] "i"((csr) >> 5 & 127), [s] D1_SCALAR_(rs1), [t] "i"((csr) & 31)); \
        d1_result_; \
    })

/* csrrwi rd, csr, imm_z */
#define d1_csrrwi(csr, imm) \
    __extension__({ \
        D1_RANGE_("csr", csr, 0, 4095); \
        D1_RANGE_("imm", imm, 0, 31); \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x73, 5, %[f], %[d], x%[s], x%[t]" \
            : [d] "=r"(d1_result_) \
            : [f] "i"((csr) >> 5 & 127), [s] "i"(imm), [t] "i"((csr) & 31)); \
        d1_result_; \
    })

/* csrrsi rd, csr, imm_z: with imm = 0 the CSR is not written */
#define d1_csrrsi(csr, imm) \
    __extension__({ \
        D1_RANGE_("csr", csr, 0, 4095); \
        D1_RANGE_("imm", imm, 0, 31); \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x73, 6, %[f], %[d], x%[s], x%[t]" \
            : [d] "=r"(d1_result_) \
            : [f] "i"((csr) >> 5 & 127), [s] "i"(imm), [t] "i"((csr) & 31)); \
        d1_result_; \
    })

/* csrrci rd, csr, imm_z: with imm = 0 the CSR is not written */
#define d1_csrrci(csr, imm) \
    __extension__({ \
        D1_RANGE_("csr", csr, 0, 4095); \
        D1_RANGE_("imm", imm, 0, 31); \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x73, 7, %[f], %[d], x%[s], x%[t]" \
            : [d] "=r"(d1_result_) \
            : [f] "i"((csr) >> 5 & 127), [s] "i"(imm), [t] "i"((csr) & 31)); \
        d1_result_; \
    })

/* fence: waits until all earlier memory accesses and all transfers of the thread are done */
#define d1_fence() \
    do { \
        __asm__ volatile(".insn r 0x0f, 0, 0, x0, x0, x0" \
            : \
            : \
            : "memory"); \
    } while (0)

/* fence.i: later instructions of the thread are fetched after its earlier stores */
#define d1_fence_i() \
    do { \
        __asm__ volatile(".insn r 0x0f, 1, 0, x0, x0, x0" \
            : \
            : \
            : "memory"); \
    } while (0)

/* vld vd, imm_vi(rs1): load a vector register */
#define d1_vld(vd, imm, rs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("imm", imm, -2048, 2047); \
        __asm__ volatile(".insn r 0x0b, 0, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 5 & 127), [d] "i"(vd), [s] D1_SCALAR_(rs1), [t] "i"((imm) & 31) \
            : "memory"); \
    } while (0)

/* vst vs2, imm_vs(rs1): store a vector register */
#define d1_vst(vs2, imm, rs1) \
    do { \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("imm", imm, -2048, 2047); \
        __asm__ volatile(".insn r 0x0b, 1, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 5 & 127), [d] "i"((imm) & 31), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* vldb vd, imm_i(rs1): load one word into every lane */
#define d1_vldb(vd, imm, rs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("imm", imm, -2048, 2047); \
        __asm__ volatile(".insn r 0x0b, 2, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 5 & 127), [d] "i"(vd), [s] D1_SCALAR_(rs1), [t] "i"((imm) & 31) \
            : "memory"); \
    } while (0)

/* vld.m vd, (rs1), ms: load the lanes in the mask, the others stay */
#define d1_vld_m(vd, rs1, ms) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("ms", ms, 0, 7); \
        __asm__ volatile(".insn r 0x0b, 3, %[f], x%[d], %z[s], x0" \
            : \
            : [f] "i"(ms), [d] "i"(vd), [s] D1_SCALAR_(rs1) \
            : "memory"); \
    } while (0)

/* vst.m vs3, (rs1), ms: store the lanes in the mask */
#define d1_vst_m(vs3, rs1, ms) \
    do { \
        D1_RANGE_("vs3", vs3, 0, 31); \
        D1_RANGE_("ms", ms, 0, 7); \
        __asm__ volatile(".insn r 0x0b, 3, %[f], x%[d], %z[s], x0" \
            : \
            : [f] "i"(8 | (ms)), [d] "i"(vs3), [s] D1_SCALAR_(rs1) \
            : "memory"); \
    } while (0)

/* vgather vd, (rs1), vs2: lane i: the word at a + vs2[i], unsigned byte offsets */
#define d1_vgather(vd, rs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x0b, 3, 16, x%[d], %z[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* vgather.m vd, (rs1), vs2, ms: the lanes in the mask, the others stay */
#define d1_vgather_m(vd, rs1, vs2, ms) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("ms", ms, 0, 7); \
        __asm__ volatile(".insn r 0x0b, 3, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"(24 | (ms)), [d] "i"(vd), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* vscatter vs3, (rs1), vs2: lane i: the word at a + vs2[i], unsigned byte offsets; of two lanes
   at one address the higher one stays */
#define d1_vscatter(vs3, rs1, vs2) \
    do { \
        D1_RANGE_("vs3", vs3, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x0b, 3, 32, x%[d], %z[s], x%[t]" \
            : \
            : [d] "i"(vs3), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* vscatter.m vs3, (rs1), vs2, ms: the lanes in the mask */
#define d1_vscatter_m(vs3, rs1, vs2, ms) \
    do { \
        D1_RANGE_("vs3", vs3, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("ms", ms, 0, 7); \
        __asm__ volatile(".insn r 0x0b, 3, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"(40 | (ms)), [d] "i"(vs3), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* vcvt.f32.bf16 vd, vs1, part: part p (0..1) of vs1's BF16 values to FP32, exact */
#define d1_vcvt_f32_bf16(vd, vs1, part) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("part", part, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 0, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(part)); \
    } while (0)

/* vcvt.bf16.f32 vd, vs1, part: vs1's FP32 values to part p (0..1) of vd in BF16, rounded as
   mround says; the rest of vd stays */
#define d1_vcvt_bf16_f32(vd, vs1, part) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("part", part, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 1, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(part)); \
    } while (0)

/* vcvt.f32.cfp8 vd, vs1, part: part p (0..3) of vs1's CFP8 values (mcfp8c) to FP32, exact */
#define d1_vcvt_f32_cfp8(vd, vs1, part) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("part", part, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 2, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(part)); \
    } while (0)

/* vcvt.cfp8.f32 vd, vs1, part: vs1's FP32 values to part p (0..3) of vd in CFP8 (mcfp8c),
   rounded as mround says; the rest of vd stays */
#define d1_vcvt_cfp8_f32(vd, vs1, part) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("part", part, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 3, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(part)); \
    } while (0)

/* vfadd.f32 vd, vs1, vs2: vs1 + vs2 */
#define d1_vfadd_f32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfsub.f32 vd, vs1, vs2: vs1 - vs2 */
#define d1_vfsub_f32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 1, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfmul.f32 vd, vs1, vs2: vs1 x vs2 */
#define d1_vfmul_f32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 2, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfmadd.f32 vd, vs1, vs2: vs1 x vs2 + vd, rounded once */
#define d1_vfmadd_f32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 3, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfnmadd.f32 vd, vs1, vs2: -(vs1 x vs2) + vd, rounded once */
#define d1_vfnmadd_f32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 4, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfmin.f32 vd, vs1, vs2: the lesser; -0 is less than +0; of a number and a NaN the number */
#define d1_vfmin_f32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 5, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfmax.f32 vd, vs1, vs2: the greater, likewise */
#define d1_vfmax_f32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 6, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfrcp.f32 vd, vs1: 1 / vs1, approximately */
#define d1_vfrcp_f32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 7, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vfrsqrt.f32 vd, vs1: 1 / the square root of vs1, approximately */
#define d1_vfrsqrt_f32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 8, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vfexp2.f32 vd, vs1: 2 to the power of vs1, approximately */
#define d1_vfexp2_f32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 9, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vfeq.f32 md, vs1, vs2: lanes where vs1 = vs2; never with a NaN */
#define d1_vfeq_f32(md, vs1, vs2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 16, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vflt.f32 md, vs1, vs2: lanes where vs1 < vs2; never with a NaN */
#define d1_vflt_f32(md, vs1, vs2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 17, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfle.f32 md, vs1, vs2: lanes where vs1 <= vs2; never with a NaN */
#define d1_vfle_f32(md, vs1, vs2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 18, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vfredsum.f32 vd, vs1: sum of vs1's lanes, in every lane; pairs of neighbouring lanes first */
#define d1_vfredsum_f32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 24, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vfredmin.f32 vd, vs1: least of vs1's lanes, in every lane; pairs of neighbouring lanes first */
#define d1_vfredmin_f32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 25, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vfredmax.f32 vd, vs1: greatest of vs1's lanes, in every lane; pairs of neighbouring lanes
   first */
#define d1_vfredmax_f32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 26, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vcvt.i32.f32 vd, vs1: to signed integer, nearest even, clamped to the range; a NaN to the
   greatest */
#define d1_vcvt_i32_f32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 32, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vcvt.f32.i32 vd, vs1: signed integer to FP32, to nearest even */
#define d1_vcvt_f32_i32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 4, 33, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vadd.i32 vd, vs1, vs2: vs1 + vs2 */
#define d1_vadd_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vsub.i32 vd, vs1, vs2: vs1 - vs2 */
#define d1_vsub_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 1, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vmul.i32 vd, vs1, vs2: low 32 bits of vs1 x vs2 */
#define d1_vmul_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 2, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vand.i32 vd, vs1, vs2: vs1 & vs2 */
#define d1_vand_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 3, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vor.i32 vd, vs1, vs2: vs1 | vs2 */
#define d1_vor_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 4, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vxor.i32 vd, vs1, vs2: vs1 ^ vs2 */
#define d1_vxor_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 5, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vsll.i32 vd, vs1, vs2: vs1 shifted left by bits 4..0 of vs2 */
#define d1_vsll_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 6, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vsrl.i32 vd, vs1, vs2: vs1 shifted right by bits 4..0 of vs2, zeros enter */
#define d1_vsrl_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 7, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vsra.i32 vd, vs1, vs2: the same, the sign enters */
#define d1_vsra_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 8, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vmin.i32 vd, vs1, vs2: the lesser of signed numbers */
#define d1_vmin_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 9, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vmax.i32 vd, vs1, vs2: the greater of signed numbers */
#define d1_vmax_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 10, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vminu.i32 vd, vs1, vs2: the lesser of unsigned numbers */
#define d1_vminu_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 11, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vmaxu.i32 vd, vs1, vs2: the greater of unsigned numbers */
#define d1_vmaxu_i32(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 12, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vseq.i32 md, vs1, vs2: lanes where vs1 = vs2 */
#define d1_vseq_i32(md, vs1, vs2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 16, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vslt.i32 md, vs1, vs2: lanes where vs1 < vs2 as signed numbers */
#define d1_vslt_i32(md, vs1, vs2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 17, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vsltu.i32 md, vs1, vs2: lanes where vs1 < vs2 as unsigned numbers */
#define d1_vsltu_i32(md, vs1, vs2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 18, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vredsum.i32 vd, vs1: sum of vs1's lanes in every lane, low 32 bits */
#define d1_vredsum_i32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 24, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vredmin.i32 vd, vs1: least of vs1's lanes as signed numbers in every lane */
#define d1_vredmin_i32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 25, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vredmax.i32 vd, vs1: greatest of vs1's lanes as signed numbers in every lane */
#define d1_vredmax_i32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 26, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vredminu.i32 vd, vs1: least of vs1's lanes as unsigned numbers in every lane */
#define d1_vredminu_i32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 27, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vredmaxu.i32 vd, vs1: greatest of vs1's lanes as unsigned numbers in every lane */
#define d1_vredmaxu_i32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 5, 28, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vsel vd, vs1, vs2, ms: lanes in the mask from vs1, the others from vs2 */
#define d1_vsel(vd, vs1, vs2, ms) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("ms", ms, 0, 7); \
        __asm__ volatile(".insn r 0x5b, 6, %[f], x%[d], x%[s], x%[t]" \
            : \
            : [f] "i"(ms), [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* mand md, ms1, ms2: lanes in both masks */
#define d1_mand(md, ms1, ms2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("ms1", ms1, 0, 7); \
        D1_RANGE_("ms2", ms2, 0, 7); \
        __asm__ volatile(".insn r 0x5b, 6, 8, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(ms1), [t] "i"(ms2)); \
    } while (0)

/* mor md, ms1, ms2: lanes in either mask */
#define d1_mor(md, ms1, ms2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("ms1", ms1, 0, 7); \
        D1_RANGE_("ms2", ms2, 0, 7); \
        __asm__ volatile(".insn r 0x5b, 6, 16, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(ms1), [t] "i"(ms2)); \
    } while (0)

/* mxor md, ms1, ms2: lanes in one mask but not in both */
#define d1_mxor(md, ms1, ms2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("ms1", ms1, 0, 7); \
        D1_RANGE_("ms2", ms2, 0, 7); \
        __asm__ volatile(".insn r 0x5b, 6, 24, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(ms1), [t] "i"(ms2)); \
    } while (0)

/* mandn md, ms1, ms2: lanes in ms1 but not in ms2 */
#define d1_mandn(md, ms1, ms2) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        D1_RANGE_("ms1", ms1, 0, 7); \
        D1_RANGE_("ms2", ms2, 0, 7); \
        __asm__ volatile(".insn r 0x5b, 6, 32, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(md), [s] "i"(ms1), [t] "i"(ms2)); \
    } while (0)

/* vmv.m.x md, rs1: bit i of rs1 for lane i */
#define d1_vmv_m_x(md, rs1) \
    do { \
        D1_RANGE_("md", md, 0, 7); \
        __asm__ volatile(".insn r 0x5b, 6, 40, x%[d], %z[s], x0" \
            : \
            : [d] "i"(md), [s] D1_SCALAR_(rs1)); \
    } while (0)

/* vmv.x.m rd, ms1: lane i to bit i, the rest 0 */
#define d1_vmv_x_m(ms1) \
    __extension__({ \
        D1_RANGE_("ms1", ms1, 0, 7); \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x5b, 6, 48, %[d], x%[s], x0" \
            : [d] "=r"(d1_result_) \
            : [s] "i"(ms1)); \
        d1_result_; \
    })

/* vtrans.b8 vd, vs1: transpose 8 x R elements of 8 bits to R x 8 */
#define d1_vtrans_b8(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 0, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vtrans.b16 vd, vs1: transpose 4 x R elements of 16 bits to R x 4 */
#define d1_vtrans_b16(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 1, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vtrans.b32 vd, vs1: transpose P x Q elements of 32 bits to Q x P */
#define d1_vtrans_b32(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 2, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vtransi.b8 vd, vs1: undo vtrans.b8 */
#define d1_vtransi_b8(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 3, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vtransi.b16 vd, vs1: undo vtrans.b16 */
#define d1_vtransi_b16(vd, vs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 4, x%[d], x%[s], x0" \
            : \
            : [d] "i"(vd), [s] "i"(vs1)); \
    } while (0)

/* vshuf vd, vs1, vs2: vd[i] = vs1[vs2[i] mod LANES] */
#define d1_vshuf(vd, vs1, vs2) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 5, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* vbc.x vd, rs1: low 32 bits of rs1 into every lane */
#define d1_vbc_x(vd, rs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 6, x%[d], %z[s], x0" \
            : \
            : [d] "i"(vd), [s] D1_SCALAR_(rs1)); \
    } while (0)

/* vbc.l vd, vs1, lane: one lane into every lane */
#define d1_vbc_l(vd, vs1, lane) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("lane", lane, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 7, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(vs1), [t] "i"(lane)); \
    } while (0)

/* vmv.x.v rd, vs1, lane: one lane, sign-extended */
#define d1_vmv_x_v(vs1, lane) \
    __extension__({ \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("lane", lane, 0, 31); \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x5b, 7, 8, %[d], x%[s], x%[t]" \
            : [d] "=r"(d1_result_) \
            : [s] "i"(vs1), [t] "i"(lane)); \
        d1_result_; \
    })

/* vpad.b8 vd, vs2, rs1: of R x 8 elements of 8 bits keep the first rows (bits 7..0 of rs1) and
   columns (15..8), the rest is 0 */
#define d1_vpad_b8(vd, vs2, rs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 9, x%[d], %z[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] D1_SCALAR_(rs1), [t] "i"(vs2)); \
    } while (0)

/* vpad.b16 vd, vs2, rs1: of R x 4 elements of 16 bits keep the first rows (bits 7..0 of rs1) and
   columns (15..8), the rest is 0 */
#define d1_vpad_b16(vd, vs2, rs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 10, x%[d], %z[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] D1_SCALAR_(rs1), [t] "i"(vs2)); \
    } while (0)

/* vpad.b32 vd, vs2, rs1: of P x Q elements of 32 bits keep the first rows (bits 7..0 of rs1) and
   columns (15..8), the rest is 0 */
#define d1_vpad_b32(vd, vs2, rs1) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, 11, x%[d], %z[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] D1_SCALAR_(rs1), [t] "i"(vs2)); \
    } while (0)

/* vslide vd, vs1, vs2, slide: vd[i] = lane i + n of vs1 followed by vs2; n at most LANES */
#define d1_vslide(vd, vs1, vs2, slide) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("slide", slide, 0, 31); \
        __asm__ volatile(".insn r 0x5b, 7, %[f], x%[d], x%[s], x%[t]" \
            : \
            : [f] "i"(32 | (slide)), [d] "i"(vd), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* mmul.bf16.vv acc_d, vs1, vs2: acc = A B: the R x 4 tile A times the transpose of the C x 4
   tile B */
#define d1_mmul_bf16_vv(acc_d, vs1, vs2) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x7b, 0, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(acc_d), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* mmul.bf16.vm acc_d, vs2, imm_vm(rs1): acc = A B: the R x 4 tile A times the transpose of the C
   x 4 tile B */
#define d1_mmul_bf16_vm(acc_d, vs2, imm, rs1) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("imm", imm, 0, 255); \
        __asm__ volatile(".insn r 0x2b, 0, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 1 & 127), [d] "i"((acc_d) | ((imm) & 1) << 4), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* mmac.bf16.vv acc_d, vs1, vs2: acc = acc + A B */
#define d1_mmac_bf16_vv(acc_d, vs1, vs2) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x7b, 1, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(acc_d), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* mmac.bf16.vm acc_d, vs2, imm_vm(rs1): acc = acc + A B */
#define d1_mmac_bf16_vm(acc_d, vs2, imm, rs1) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("imm", imm, 0, 255); \
        __asm__ volatile(".insn r 0x2b, 1, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 1 & 127), [d] "i"((acc_d) | ((imm) & 1) << 4), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* mmul.cfp8.lo.vv acc_d, vs1, vs2: acc = A B on columns 0..3 of R x 8 and C x 8 tiles of CFP8
   (mcfp8a, mcfp8b) */
#define d1_mmul_cfp8_lo_vv(acc_d, vs1, vs2) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x7b, 2, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(acc_d), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* mmul.cfp8.lo.vm acc_d, vs2, imm_vm(rs1): acc = A B on columns 0..3 of R x 8 and C x 8 tiles of
   CFP8 (mcfp8a, mcfp8b) */
#define d1_mmul_cfp8_lo_vm(acc_d, vs2, imm, rs1) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("imm", imm, 0, 255); \
        __asm__ volatile(".insn r 0x2b, 2, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 1 & 127), [d] "i"((acc_d) | ((imm) & 1) << 4), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* mmac.cfp8.lo.vv acc_d, vs1, vs2: acc = acc + A B on columns 0..3 */
#define d1_mmac_cfp8_lo_vv(acc_d, vs1, vs2) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x7b, 3, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(acc_d), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* mmac.cfp8.lo.vm acc_d, vs2, imm_vm(rs1): acc = acc + A B on columns 0..3 */
#define d1_mmac_cfp8_lo_vm(acc_d, vs2, imm, rs1) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("imm", imm, 0, 255); \
        __asm__ volatile(".insn r 0x2b, 3, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 1 & 127), [d] "i"((acc_d) | ((imm) & 1) << 4), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* mmul.cfp8.hi.vv acc_d, vs1, vs2: acc = A B on columns 4..7 */
#define d1_mmul_cfp8_hi_vv(acc_d, vs1, vs2) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x7b, 4, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(acc_d), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* mmul.cfp8.hi.vm acc_d, vs2, imm_vm(rs1): acc = A B on columns 4..7 */
#define d1_mmul_cfp8_hi_vm(acc_d, vs2, imm, rs1) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("imm", imm, 0, 255); \
        __asm__ volatile(".insn r 0x2b, 4, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 1 & 127), [d] "i"((acc_d) | ((imm) & 1) << 4), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* mmac.cfp8.hi.vv acc_d, vs1, vs2: acc = acc + A B on columns 4..7 */
#define d1_mmac_cfp8_hi_vv(acc_d, vs1, vs2) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        __asm__ volatile(".insn r 0x7b, 5, 0, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(acc_d), [s] "i"(vs1), [t] "i"(vs2)); \
    } while (0)

/* mmac.cfp8.hi.vm acc_d, vs2, imm_vm(rs1): acc = acc + A B on columns 4..7 */
#define d1_mmac_cfp8_hi_vm(acc_d, vs2, imm, rs1) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs2", vs2, 0, 31); \
        D1_RANGE_("imm", imm, 0, 255); \
        __asm__ volatile(".insn r 0x2b, 5, %[f], x%[d], %z[s], x%[t]" \
            : \
            : [f] "i"((imm) >> 1 & 127), [d] "i"((acc_d) | ((imm) & 1) << 4), [s] D1_SCALAR_(rs1), [t] "i"(vs2) \
            : "memory"); \
    } while (0)

/* mzero acc_d: clear an accumulator to +0 */
#define d1_mzero(acc_d) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        __asm__ volatile(".insn r 0x7b, 7, 0, x%[d], x0, x0" \
            : \
            : [d] "i"(acc_d)); \
    } while (0)

/* mrd vd, acc_s, part: read part p of an accumulator, row-major FP32 */
#define d1_mrd(vd, acc_s, part) \
    do { \
        D1_RANGE_("vd", vd, 0, 31); \
        D1_RANGE_("acc_s", acc_s, 0, 15); \
        D1_RANGE_("part", part, 0, 31); \
        __asm__ volatile(".insn r 0x7b, 7, 1, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(vd), [s] "i"(acc_s), [t] "i"(part)); \
    } while (0)

/* mwr acc_d, vs1, part: write part p of an accumulator; the rest stays */
#define d1_mwr(acc_d, vs1, part) \
    do { \
        D1_RANGE_("acc_d", acc_d, 0, 15); \
        D1_RANGE_("vs1", vs1, 0, 31); \
        D1_RANGE_("part", part, 0, 31); \
        __asm__ volatile(".insn r 0x7b, 7, 2, x%[d], x%[s], x%[t]" \
            : \
            : [d] "i"(acc_d), [s] "i"(vs1), [t] "i"(part)); \
    } while (0)

/* push rs1, rs2, imm_lines: write imm lines (0: 32) from local rs1 to the global address rs2 */
#define d1_push(rs1, rs2, imm) \
    do { \
        D1_RANGE_("imm", imm, 0, 31); \
        __asm__ volatile(".insn r 0x2b, 6, 0, x%[d], %z[s], %z[t]" \
            : \
            : [d] "i"(imm), [s] D1_SCALAR_(rs1), [t] D1_SCALAR_(rs2) \
            : "memory"); \
    } while (0)

/* pull rs1, rs2, imm_lines: read imm lines (0: 32) from the global address rs2 to local rs1 */
#define d1_pull(rs1, rs2, imm) \
    do { \
        D1_RANGE_("imm", imm, 0, 31); \
        __asm__ volatile(".insn r 0x2b, 6, 1, x%[d], %z[s], %z[t]" \
            : \
            : [d] "i"(imm), [s] D1_SCALAR_(rs1), [t] D1_SCALAR_(rs2) \
            : "memory"); \
    } while (0)

/* bcast rs1, rs2, imm_lines: write imm lines (0: 32) from local rs1 to a rectangle of nodes, rs2 */
#define d1_bcast(rs1, rs2, imm) \
    do { \
        D1_RANGE_("imm", imm, 0, 31); \
        __asm__ volatile(".insn r 0x2b, 6, 2, x%[d], %z[s], %z[t]" \
            : \
            : [d] "i"(imm), [s] D1_SCALAR_(rs1), [t] D1_SCALAR_(rs2) \
            : "memory"); \
    } while (0)

/* post rs1, imm_post: add 1 to a semaphore of the node in which the global address rs1 is */
#define d1_post(rs1, imm) \
    do { \
        D1_RANGE_("imm", imm, 0, 31); \
        __asm__ volatile(".insn r 0x2b, 6, 3, x0, %z[s], x%[t]" \
            : \
            : [s] D1_SCALAR_(rs1), [t] "i"(imm) \
            : "memory"); \
    } while (0)

/* xlist rs1: start the list of transfers at local rs1 */
#define d1_xlist(rs1) \
    do { \
        __asm__ volatile(".insn r 0x2b, 6, 4, x0, %z[s], x0" \
            : \
            : [s] D1_SCALAR_(rs1) \
            : "memory"); \
    } while (0)

/* spost imm_sem: add 1 to a semaphore of the own node; 65535 stays */
#define d1_spost(imm) \
    do { \
        D1_RANGE_("imm", imm, 0, 31); \
        __asm__ volatile(".insn r 0x2b, 6, 5, x0, x%[s], x0" \
            : \
            : [s] "i"(imm) \
            : "memory"); \
    } while (0)

/* swait imm_sem: wait until a semaphore is not 0, then subtract 1 */
#define d1_swait(imm) \
    do { \
        D1_RANGE_("imm", imm, 0, 31); \
        __asm__ volatile(".insn r 0x2b, 6, 6, x0, x%[s], x0" \
            : \
            : [s] "i"(imm) \
            : "memory"); \
    } while (0)

/* barrier imm_threads: wait until every thread of the set (0: of the node) waits for the same
   set */
#define d1_barrier(imm) \
    do { \
        D1_RANGE_("imm", imm, 0, 31); \
        __asm__ volatile(".insn r 0x2b, 6, 7, x0, x%[s], x0" \
            : \
            : [s] "i"(imm) \
            : "memory"); \
    } while (0)

/* lwalk rd, rs1, rs2: from p = rs1 follow rs2 links p = load(p, 8), or as many as there are
   before p = 0 */
#define d1_lwalk(rs1, rs2) \
    __extension__({ \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x2b, 6, 8, %[d], %z[s], %z[t]" \
            : [d] "=r"(d1_result_) \
            : [s] D1_SCALAR_(rs1), [t] D1_SCALAR_(rs2) \
            : "memory"); \
        d1_result_; \
    })

/* lfind rd, rs1, rs2: the first record of the list at rs1 whose 64-bit key at +8 is rs2, or 0 */
#define d1_lfind(rs1, rs2) \
    __extension__({ \
        uint64_t d1_result_; \
        __asm__ volatile(".insn r 0x2b, 6, 9, %[d], %z[s], %z[t]" \
            : [d] "=r"(d1_result_) \
            : [s] D1_SCALAR_(rs1), [t] D1_SCALAR_(rs2) \
            : "memory"); \
        d1_result_; \
    })

#endif
