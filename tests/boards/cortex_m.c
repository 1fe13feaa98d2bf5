/* A Cortex-M from reset: floating point on, then the program; output and exit by semihosting. */
#include <stdint.h>

#include "board.h"

extern uint32_t stack_top;

static int semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void put(const char *text, int length)
{
    static char line[2];
    for (int i = 0; i < length; i++) {
        line[0] = text[i];
        semihost(0x04, line);
    }
}

void finish(int code)
{
    uint32_t stopped[2] = {0x20026, (uint32_t)code};
    for (;;)
        semihost(0x20, stopped);
}

static void reset(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xF << 20;
    __asm__ volatile("dsb\n isb");
#endif
    program();
}

static void fault(void)
{
    finish(99);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};
