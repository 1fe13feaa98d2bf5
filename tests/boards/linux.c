/* A program without a C library on Linux: entry, output and exit by system calls. */
#include "board.h"

#if defined(__x86_64__)
#define ENTRY ".globl _start\n_start:\n xor %ebp, %ebp\n and $-16, %rsp\n call program\n"
#define WRITE 1
#define EXIT 60
static long system_call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
#define ENTRY ".globl _start\n_start:\n bl program\n"
#define WRITE 64
#define EXIT 93
static long system_call(long number, long a, long b, long c)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#elif defined(__arm__)
#define ENTRY ".globl _start\n_start:\n bl program\n"
#define WRITE 4
#define EXIT 1
static long system_call(long number, long a, long b, long c)
{
    register long r7 __asm__("r7") = number, r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
    return r0;
}
#elif defined(__riscv)
#define ENTRY ".globl _start\n_start:\n.option push\n.option norelax\n la gp, __global_pointer$\n.option pop\n call program\n"
#define WRITE 64
#define EXIT 93
static long system_call(long number, long a, long b, long c)
{
    register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
}
#endif

__asm__(ENTRY);

void put(const char *text, int length)
{
    system_call(WRITE, 1, (long)text, length);
}

void finish(int code)
{
    for (;;)
        system_call(EXIT, code, 0, 0);
}
