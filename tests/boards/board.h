/* What a test program may use of the machine it runs on. */
#ifndef BOARD_H
#define BOARD_H

void program(void);
void put(const char *text, int length);
void finish(int code) __attribute__((noreturn));

#endif
