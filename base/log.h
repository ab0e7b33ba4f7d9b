/* log: diagnostics of a program to stderr, for its operator. Results go to stdout by other means; an engine's output
 * is data and never passes through here. What a message quotes can't drive the terminal: control
 * characters become "?". */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum greta_log_level { GRETA_LOG_ERROR, GRETA_LOG_WARN, GRETA_LOG_INFO, GRETA_LOG_DEBUG };

void greta_log_init(const char *program, enum greta_log_level level); /* program: borrowed, static */
void greta_log_level_set(enum greta_log_level level);
void greta_log_to_fd(int fd);                                         /* default 2; -1 silences */
void greta_log(enum greta_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define greta_error(...) greta_log(GRETA_LOG_ERROR, __VA_ARGS__)
#define greta_warn(...) greta_log(GRETA_LOG_WARN, __VA_ARGS__)
#define greta_info(...) greta_log(GRETA_LOG_INFO, __VA_ARGS__)
#define greta_debug(...) greta_log(GRETA_LOG_DEBUG, __VA_ARGS__)

#endif
