/* Formatted text. */
#include "opinion.h"

extern __declspec(dllimport) int f_sprintf(char *, const char *, ...) __asm__("sprintf");
extern __declspec(dllimport) int f_swprintf(WCHAR *, const WCHAR *, ...) __asm__("swprintf");
extern __declspec(dllimport) int f_snprintf(char *, SIZE_T, const char *, ...) __asm__("_snprintf");
extern __declspec(dllimport) int f_snwprintf(WCHAR *, SIZE_T, const WCHAR *, ...) __asm__("_snwprintf");
extern __declspec(dllimport) int f_sprintf_s(char *, SIZE_T, const char *, ...) __asm__("sprintf_s");
extern __declspec(dllimport) int f_swprintf_s(WCHAR *, SIZE_T, const WCHAR *, ...) __asm__("swprintf_s");
extern __declspec(dllimport) int f_snprintf_s(char *, SIZE_T, SIZE_T, const char *, ...) __asm__("_snprintf_s");
extern __declspec(dllimport) int f_snwprintf_s(WCHAR *, SIZE_T, SIZE_T, const WCHAR *, ...) __asm__("_snwprintf_s");
KERNEL(int, f_vsprintf, "vsprintf", char *, const char *, __builtin_va_list);
KERNEL(int, f_vswprintf, "vswprintf", WCHAR *, const WCHAR *, __builtin_va_list);
KERNEL(int, f_vsnprintf, "_vsnprintf", char *, SIZE_T, const char *, __builtin_va_list);
KERNEL(int, f_vsnwprintf, "_vsnwprintf", WCHAR *, SIZE_T, const WCHAR *, __builtin_va_list);
KERNEL(int, f_vsprintf_s, "vsprintf_s", char *, SIZE_T, const char *, __builtin_va_list);
KERNEL(int, f_vswprintf_s, "vswprintf_s", WCHAR *, SIZE_T, const WCHAR *, __builtin_va_list);
KERNEL(int, f_vsnprintf_s, "_vsnprintf_s", char *, SIZE_T, SIZE_T, const char *, __builtin_va_list);
KERNEL(int, f_vsnwprintf_s, "_vsnwprintf_s", WCHAR *, SIZE_T, SIZE_T, const WCHAR *, __builtin_va_list);

static char Out[128];
static WCHAR WideOut[128];
static UNICODE_STRING Counted = RTL_CONSTANT_STRING(L"counted");
static ANSI_STRING CountedNarrow = RTL_CONSTANT_STRING("narrow");

#define FORMAT(format, ...) \
    do { \
        int length = f_snprintf(Out, sizeof(Out), format, __VA_ARGS__); \
        SAY("(%s) -> %d, %s", format, length, Out); \
    } while (0)

TEST(_snprintf)
{
    FORMAT("%d %i %u", -5, 7, -1);
    FORMAT("%x %X %#x %#X %o %#o", 255, 255, 255, 255, 8, 8);
    FORMAT("%#x %#o", 0, 0);
    FORMAT("%5d/%-5d/%05d/%+d/% d", 42, 42, 42, 42, 42);
    FORMAT("%.3d/%6.3d/%-6.3d", 7, 7, 7);
    FORMAT("%06.3d", 7);
    FORMAT("%.0d/%.0x", 0, 0);
    FORMAT("%*d/%-*d/%.*d", 5, 1, 5, 2, 3, 4);
    FORMAT("%*d", -5, 1);
    FORMAT("%hd %hu %hx", 70000, 70000, 70000);
    FORMAT("%ld %lu %lx", -2, -2, 255);
    FORMAT("%lld %llu %llx", -2LL, 1ULL << 40, 1ULL << 40);
    FORMAT("%I64d %I64u %I64x %I32d %Id", -2LL, 1ULL << 40, 1ULL << 40, 9, -3LL);
    FORMAT("%p", (PVOID)0x1234abcd);
    FORMAT("%s/%.2s/%6s/%-6s", "abc", "abc", "abc", "abc");
    FORMAT("%ws/%ls/%S/%hs", L"wide", L"wide", L"wide", "narrow");
    FORMAT("%s/%ws", (char *)NULL, (WCHAR *)NULL);
    FORMAT("%c/%3c/%-3c/%lc/%C", 'x', 'x', 'x', 'w', 'w');
    FORMAT("%wZ/%Z", &Counted, &CountedNarrow);
    FORMAT("100%% %d", 1);
    FORMAT("%zu", (SIZE_T)3);
    FORMAT("%q %d", 1);
    int length = f_snprintf(Out, 4, "%s", "abcd");
    SAY("(4, \"abcd\") -> %d, %h", length, 4, Out);
    Out[3] = 'z';
    length = f_snprintf(Out, 3, "%s", "abcd");
    SAY("(3, \"abcd\") -> %d, %h", length, 4, Out);
    SAY("(NULL, 0, \"abcd\") -> %d", f_snprintf(NULL, 0, "%s", "abcd"));
}

TEST(sprintf) { int length = f_sprintf(Out, "%d %s", 5, "abc"); SAY("(\"%%d %%s\", 5, \"abc\") -> %d, %s", length, Out); }
TEST(swprintf)
{
    int length = f_swprintf(WideOut, L"%d %s %S %hs %ls", 5, L"wide", "narrow", "narrow", L"wide");
    SAY("(\"%%d %%s %%S %%hs %%ls\") -> %d, %S", length, WideOut);
    length = f_swprintf(WideOut, L"%c %C", 'x', 'y');
    SAY("(\"%%c %%C\") -> %d, %S", length, WideOut);
    length = f_swprintf(WideOut, L"%wZ", &Counted);
    SAY("(\"%%wZ\") -> %d, %S", length, WideOut);
    length = f_swprintf(WideOut, L"%Z", &CountedNarrow);
    SAY("(\"%%Z\" of an ANSI_STRING) -> %d, %S", length, WideOut);
}
TEST(_snwprintf)
{
    int length = f_snwprintf(WideOut, 4, L"%s", L"abcd");
    SAY("(4, \"abcd\") -> %d, %h", length, 8, WideOut);
    WideOut[3] = 'z';
    length = f_snwprintf(WideOut, 3, L"%s", L"abcd");
    SAY("(3, \"abcd\") -> %d, %h", length, 8, WideOut);
}
TEST(sprintf_s) { int length = f_sprintf_s(Out, 8, "%d", 123); SAY("(8, \"%%d\", 123) -> %d, %s", length, Out); }
TEST(swprintf_s) { int length = f_swprintf_s(WideOut, 8, L"%d", 123); SAY("(8, \"%%d\", 123) -> %d, %S", length, WideOut); }
TEST(_snprintf_s)
{
    int length = f_snprintf_s(Out, 8, 3, "%s", "abc"); SAY("(8, 3, \"abc\") -> %d, %s", length, Out);
    length = f_snprintf_s(Out, 8, 2, "%s", "abc"); SAY("(8, 2, \"abc\") -> %d, %s", length, Out);
    length = f_snprintf_s(Out, 3, (SIZE_T)-1, "%s", "abc"); SAY("(3, _TRUNCATE, \"abc\") -> %d, %s", length, Out);
}
TEST(_snwprintf_s)
{
    int length = f_snwprintf_s(WideOut, 8, 2, L"%s", L"abc"); SAY("(8, 2, \"abc\") -> %d, %S", length, WideOut);
    length = f_snwprintf_s(WideOut, 3, (SIZE_T)-1, L"%s", L"abc"); SAY("(3, _TRUNCATE, \"abc\") -> %d, %S", length, WideOut);
}

static int Narrow_(int (*how)(const char *, __builtin_va_list), const char *format, ...)
{
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    int length = how(format, arguments);
    __builtin_va_end(arguments);
    return length;
}
static int Wide_(int (*how)(const WCHAR *, __builtin_va_list), const WCHAR *format, ...)
{
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    int length = how(format, arguments);
    __builtin_va_end(arguments);
    return length;
}
#define VARIANT(name, unit, conversion, by, buffer, format, expression) \
    static int how_##name(const unit *text, __builtin_va_list arguments) { return expression; } \
    TEST(name) { int length = by(how_##name, format, 1234, 5); SAY("(\"%%d-%%d\", 1234, 5) -> %d, " conversion, length, buffer); }
VARIANT(vsprintf, char, "%s", Narrow_, Out, "%d-%d", f_vsprintf(Out, text, arguments))
VARIANT(_vsnprintf, char, "%s", Narrow_, Out, "%d-%d", f_vsnprintf(Out, 7, text, arguments))
VARIANT(vsprintf_s, char, "%s", Narrow_, Out, "%d-%d", f_vsprintf_s(Out, 7, text, arguments))
VARIANT(_vsnprintf_s, char, "%s", Narrow_, Out, "%d-%d", f_vsnprintf_s(Out, 9, 4, text, arguments))
VARIANT(vswprintf, WCHAR, "%S", Wide_, WideOut, L"%d-%d", f_vswprintf(WideOut, text, arguments))
VARIANT(_vsnwprintf, WCHAR, "%S", Wide_, WideOut, L"%d-%d", f_vsnwprintf(WideOut, 7, text, arguments))
VARIANT(vswprintf_s, WCHAR, "%S", Wide_, WideOut, L"%d-%d", f_vswprintf_s(WideOut, 7, text, arguments))
VARIANT(_vsnwprintf_s, WCHAR, "%S", Wide_, WideOut, L"%d-%d", f_vsnwprintf_s(WideOut, 9, 4, text, arguments))

extern __declspec(dllimport) ULONG f_DbgPrint(const char *, ...) __asm__("DbgPrint");
extern __declspec(dllimport) ULONG f_DbgPrintEx(ULONG, ULONG, const char *, ...) __asm__("DbgPrintEx");
extern __declspec(dllimport) ULONG f_DbgPrintReturnControlC(const char *, ...) __asm__("DbgPrintReturnControlC");
KERNEL(ULONG, f_vDbgPrintEx, "vDbgPrintEx", ULONG, ULONG, const char *, __builtin_va_list);
KERNEL(ULONG, f_vDbgPrintExWithPrefix, "vDbgPrintExWithPrefix", const char *, ULONG, ULONG, const char *, __builtin_va_list);
TEST(DbgPrint) { SAY("(\"a line\\n\") -> %x", f_DbgPrint("a line\n")); }
TEST(DbgPrintEx) { SAY("(0, 0, \"a line\\n\") -> %x", f_DbgPrintEx(0, 0, "a line\n")); }
TEST(DbgPrintReturnControlC) { SAY("(\"a line\\n\") -> %x", f_DbgPrintReturnControlC("a line\n")); }
static int how_vDbgPrintEx(const char *text, __builtin_va_list arguments) { return f_vDbgPrintEx(0, 0, text, arguments); }
TEST(vDbgPrintEx) { SAY("(\"%%d\\n\", 1) -> %x", Narrow_(how_vDbgPrintEx, "%d\n", 1)); }
static int how_prefix(const char *text, __builtin_va_list arguments) { return f_vDbgPrintExWithPrefix("prefix ", 0, 0, text, arguments); }
TEST(vDbgPrintExWithPrefix) { SAY("(\"%%d\\n\", 1) -> %x", Narrow_(how_prefix, "%d\n", 1)); }
KERNEL(NTSTATUS, f_DbgQueryDebugFilterState, "DbgQueryDebugFilterState", ULONG, ULONG);
TEST(DbgQueryDebugFilterState) { SAY("(DEFAULT, ERROR) -> %x", f_DbgQueryDebugFilterState(101, 0)); }
KERNEL(NTSTATUS, f_DbgSetDebugFilterState, "DbgSetDebugFilterState", ULONG, ULONG, BOOLEAN);
TEST(DbgSetDebugFilterState) { SAY("(DEFAULT, ERROR, TRUE) -> %x", f_DbgSetDebugFilterState(101, 0, TRUE)); }
