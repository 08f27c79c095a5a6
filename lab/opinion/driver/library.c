/* The C library, as far as the kernel has it. */
#include "opinion.h"

KERNEL(SIZE_T, c_strlen, "strlen", const char *);
TEST(strlen) { SAY("(\"abc\", \"\") -> %u %u", (ULONG)c_strlen("abc"), (ULONG)c_strlen("")); }
KERNEL(SIZE_T, c_strnlen, "strnlen", const char *, SIZE_T);
TEST(strnlen) { SAY("(\"abc\", 2; 3; 9) -> %u %u %u", (ULONG)c_strnlen("abc", 2), (ULONG)c_strnlen("abc", 3), (ULONG)c_strnlen("abc", 9)); }
KERNEL(SIZE_T, c_wcslen, "wcslen", const WCHAR *);
TEST(wcslen) { SAY("(\"abc\", \"\") -> %u %u", (ULONG)c_wcslen(L"abc"), (ULONG)c_wcslen(L"")); }
KERNEL(SIZE_T, c_wcsnlen, "wcsnlen", const WCHAR *, SIZE_T);
TEST(wcsnlen) { SAY("(\"abc\", 2; 3; 9) -> %u %u %u", (ULONG)c_wcsnlen(L"abc", 2), (ULONG)c_wcsnlen(L"abc", 3), (ULONG)c_wcsnlen(L"abc", 9)); }

static char Text[32];
static WCHAR WideText[32];

static VOID Fill(const char *text)
{
    ULONG at = 0;
    for (; text[at]; at++) Text[at] = text[at], WideText[at] = text[at];
    Text[at] = 0, WideText[at] = 0;
    for (at++; at < 32; at++) Text[at] = 'z', WideText[at] = 'z';
}

KERNEL(char *, c_strcpy, "strcpy", char *, const char *);
TEST(strcpy) { Fill(""); BOOLEAN same = c_strcpy(Text, "abc") == Text; SAY("(\"abc\") -> %s, %b", Text, same); }
KERNEL(WCHAR *, c_wcscpy, "wcscpy", WCHAR *, const WCHAR *);
TEST(wcscpy) { Fill(""); BOOLEAN same = c_wcscpy(WideText, L"abc") == WideText; SAY("(\"abc\") -> %S, %b", WideText, same); }
KERNEL(char *, c_strncpy, "strncpy", char *, const char *, SIZE_T);
TEST(strncpy)
{
    Fill(""); c_strncpy(Text, "abc", 5); SAY("(\"abc\", 5) -> %h", 7, Text);
    Fill(""); c_strncpy(Text, "abc", 2); SAY("(\"abc\", 2) -> %h", 4, Text);
}
KERNEL(WCHAR *, c_wcsncpy, "wcsncpy", WCHAR *, const WCHAR *, SIZE_T);
TEST(wcsncpy)
{
    Fill(""); c_wcsncpy(WideText, L"abc", 5); SAY("(\"abc\", 5) -> %h", 14, WideText);
    Fill(""); c_wcsncpy(WideText, L"abc", 2); SAY("(\"abc\", 2) -> %h", 8, WideText);
}
KERNEL(char *, c_strcat, "strcat", char *, const char *);
TEST(strcat) { Fill("ab"); c_strcat(Text, "cd"); SAY("(\"ab\", \"cd\") -> %s", Text); }
KERNEL(WCHAR *, c_wcscat, "wcscat", WCHAR *, const WCHAR *);
TEST(wcscat) { Fill("ab"); c_wcscat(WideText, L"cd"); SAY("(\"ab\", \"cd\") -> %S", WideText); }
KERNEL(char *, c_strncat, "strncat", char *, const char *, SIZE_T);
TEST(strncat) { Fill("ab"); c_strncat(Text, "cdef", 2); SAY("(\"ab\", \"cdef\", 2) -> %s", Text); }
KERNEL(WCHAR *, c_wcsncat, "wcsncat", WCHAR *, const WCHAR *, SIZE_T);
TEST(wcsncat) { Fill("ab"); c_wcsncat(WideText, L"cdef", 2); SAY("(\"ab\", \"cdef\", 2) -> %S", WideText); }

static int Signum(int value) { return (value > 0) - (value < 0); }

KERNEL(int, c_strcmp, "strcmp", const char *, const char *);
TEST(strcmp)
{
    SAY("(\"a\", \"b\"; \"a\", \"a\"; \"ab\", \"a\") -> %d %d %d", Signum(c_strcmp("a", "b")), Signum(c_strcmp("a", "a")), Signum(c_strcmp("ab", "a")));
    SAY("(\"\\xe4\", \"a\") -> %d", Signum(c_strcmp("\xe4", "a")));
}
KERNEL(int, c_strncmp, "strncmp", const char *, const char *, SIZE_T);
TEST(strncmp) { SAY("(\"abc\", \"abd\", 2; 3; 0) -> %d %d %d", Signum(c_strncmp("abc", "abd", 2)), Signum(c_strncmp("abc", "abd", 3)), Signum(c_strncmp("a", "b", 0))); }
KERNEL(int, c_stricmp, "_stricmp", const char *, const char *);
TEST(_stricmp) { SAY("(\"abc\", \"ABC\"; \"a\", \"B\"; \"Z\", \"_\") -> %d %d %d", Signum(c_stricmp("abc", "ABC")), Signum(c_stricmp("a", "B")), Signum(c_stricmp("Z", "_"))); }
KERNEL(int, c_strnicmp, "_strnicmp", const char *, const char *, SIZE_T);
TEST(_strnicmp) { SAY("(\"abX\", \"ABy\", 2; 3) -> %d %d", Signum(c_strnicmp("abX", "ABy", 2)), Signum(c_strnicmp("abX", "ABy", 3))); }
KERNEL(int, c_wcscmp, "wcscmp", const WCHAR *, const WCHAR *);
TEST(wcscmp) { SAY("(\"a\", \"b\"; \"a\", \"a\") -> %d %d", Signum(c_wcscmp(L"a", L"b")), Signum(c_wcscmp(L"a", L"a"))); }
KERNEL(int, c_wcsncmp, "wcsncmp", const WCHAR *, const WCHAR *, SIZE_T);
TEST(wcsncmp) { SAY("(\"abc\", \"abd\", 2; 3) -> %d %d", Signum(c_wcsncmp(L"abc", L"abd", 2)), Signum(c_wcsncmp(L"abc", L"abd", 3))); }
KERNEL(int, c_wcsicmp, "_wcsicmp", const WCHAR *, const WCHAR *);
TEST(_wcsicmp)
{
    SAY("(\"abc\", \"ABC\"; \"Z\", \"_\") -> %d %d", Signum(c_wcsicmp(L"abc", L"ABC")), Signum(c_wcsicmp(L"Z", L"_")));
    SAY("(\"\\xe4\", \"\\xc4\") -> %d", Signum(c_wcsicmp(L"\xe4", L"\xc4")));
}
KERNEL(int, c_wcsnicmp, "_wcsnicmp", const WCHAR *, const WCHAR *, SIZE_T);
TEST(_wcsnicmp) { SAY("(\"abX\", \"ABy\", 2; 3) -> %d %d", Signum(c_wcsnicmp(L"abX", L"ABy", 2)), Signum(c_wcsnicmp(L"abX", L"ABy", 3))); }

static const char Banana[] = "banana";
static const WCHAR WideBanana[] = L"banana";
#define AT(found, text) ((found) ? (int)((found) - (text)) : -1)
KERNEL(char *, c_strchr, "strchr", const char *, int);
TEST(strchr) { SAY("(\"banana\", 'n', 'x', 0) -> %d %d %d", AT(c_strchr(Banana, 'n'), Banana), AT(c_strchr(Banana, 'x'), Banana), AT(c_strchr(Banana, 0), Banana)); }
KERNEL(char *, c_strrchr, "strrchr", const char *, int);
TEST(strrchr) { SAY("(\"banana\", 'n', 'x', 0) -> %d %d %d", AT(c_strrchr(Banana, 'n'), Banana), AT(c_strrchr(Banana, 'x'), Banana), AT(c_strrchr(Banana, 0), Banana)); }
KERNEL(char *, c_strstr, "strstr", const char *, const char *);
TEST(strstr) { SAY("(\"banana\", \"nan\", \"nab\", \"\") -> %d %d %d", AT(c_strstr(Banana, "nan"), Banana), AT(c_strstr(Banana, "nab"), Banana), AT(c_strstr(Banana, ""), Banana)); }
KERNEL(WCHAR *, c_wcschr, "wcschr", const WCHAR *, WCHAR);
TEST(wcschr) { SAY("(\"banana\", 'n', 'x', 0) -> %d %d %d", AT(c_wcschr(WideBanana, 'n'), WideBanana), AT(c_wcschr(WideBanana, 'x'), WideBanana), AT(c_wcschr(WideBanana, 0), WideBanana)); }
KERNEL(WCHAR *, c_wcsrchr, "wcsrchr", const WCHAR *, WCHAR);
TEST(wcsrchr) { SAY("(\"banana\", 'n', 'x') -> %d %d", AT(c_wcsrchr(WideBanana, 'n'), WideBanana), AT(c_wcsrchr(WideBanana, 'x'), WideBanana)); }
KERNEL(WCHAR *, c_wcsstr, "wcsstr", const WCHAR *, const WCHAR *);
TEST(wcsstr) { SAY("(\"banana\", \"nan\", \"nab\", \"\") -> %d %d %d", AT(c_wcsstr(WideBanana, L"nan"), WideBanana), AT(c_wcsstr(WideBanana, L"nab"), WideBanana), AT(c_wcsstr(WideBanana, L""), WideBanana)); }

KERNEL(int, c_strcpy_s, "strcpy_s", char *, SIZE_T, const char *);
TEST(strcpy_s)
{
    Fill(""); int error = c_strcpy_s(Text, 4, "abc"); SAY("(4, \"abc\") -> %d, %s", error, Text);
    Fill("zz"); error = c_strcpy_s(Text, 3, "abc"); SAY("(3, \"abc\") -> %d, %s", error, Text);
    Fill("zz"); error = c_strcpy_s(Text, 3, NULL); SAY("(3, NULL) -> %d, %s", error, Text);
    SAY("(NULL) -> %d", c_strcpy_s(NULL, 3, "abc"));
    SAY("(0, \"abc\") -> %d", c_strcpy_s(Text, 0, "abc"));
}
KERNEL(int, c_wcscpy_s, "wcscpy_s", WCHAR *, SIZE_T, const WCHAR *);
TEST(wcscpy_s)
{
    Fill(""); int error = c_wcscpy_s(WideText, 4, L"abc"); SAY("(4, \"abc\") -> %d, %S", error, WideText);
    Fill("zz"); error = c_wcscpy_s(WideText, 3, L"abc"); SAY("(3, \"abc\") -> %d, %S", error, WideText);
}
KERNEL(int, c_strcat_s, "strcat_s", char *, SIZE_T, const char *);
TEST(strcat_s)
{
    Fill("ab"); int error = c_strcat_s(Text, 5, "cd"); SAY("(\"ab\" of 5, \"cd\") -> %d, %s", error, Text);
    Fill("ab"); error = c_strcat_s(Text, 4, "cd"); SAY("(\"ab\" of 4, \"cd\") -> %d, %s", error, Text);
    Fill("abcd"); error = c_strcat_s(Text, 4, "e"); SAY("(\"abcd\" of 4: no end, \"e\") -> %d", error);
}
KERNEL(int, c_wcscat_s, "wcscat_s", WCHAR *, SIZE_T, const WCHAR *);
TEST(wcscat_s)
{
    Fill("ab"); int error = c_wcscat_s(WideText, 5, L"cd"); SAY("(\"ab\" of 5, \"cd\") -> %d, %S", error, WideText);
    Fill("ab"); error = c_wcscat_s(WideText, 4, L"cd"); SAY("(\"ab\" of 4, \"cd\") -> %d, %S", error, WideText);
}
KERNEL(int, c_strncpy_s, "strncpy_s", char *, SIZE_T, const char *, SIZE_T);
TEST(strncpy_s)
{
    Fill(""); int error = c_strncpy_s(Text, 4, "abcdef", 3); SAY("(4, \"abcdef\", 3) -> %d, %s", error, Text);
    Fill(""); error = c_strncpy_s(Text, 4, "abcdef", 4); SAY("(4, \"abcdef\", 4) -> %d, %s", error, Text);
    Fill(""); error = c_strncpy_s(Text, 4, "abcdef", (SIZE_T)-1); SAY("(4, \"abcdef\", _TRUNCATE) -> %d, %s", error, Text);
}
KERNEL(int, c_wcsncpy_s, "wcsncpy_s", WCHAR *, SIZE_T, const WCHAR *, SIZE_T);
TEST(wcsncpy_s)
{
    Fill(""); int error = c_wcsncpy_s(WideText, 4, L"abcdef", 3); SAY("(4, \"abcdef\", 3) -> %d, %S", error, WideText);
    Fill(""); error = c_wcsncpy_s(WideText, 4, L"abcdef", (SIZE_T)-1); SAY("(4, \"abcdef\", _TRUNCATE) -> %d, %S", error, WideText);
}

KERNEL(WCHAR *, c_wcsupr, "_wcsupr", WCHAR *);
TEST(_wcsupr) { Fill("aZ1"); WideText[3] = 0xe4; WideText[4] = 0; c_wcsupr(WideText); SAY("(\"aZ1\\xe4\") -> %S", WideText); }
KERNEL(WCHAR *, c_wcslwr, "_wcslwr", WCHAR *);
TEST(_wcslwr) { Fill("aZ1"); WideText[3] = 0xc4; WideText[4] = 0; c_wcslwr(WideText); SAY("(\"aZ1\\xc4\") -> %S", WideText); }
KERNEL(char *, c_strupr, "_strupr", char *);
TEST(_strupr) { Fill("aZ1\xe4"); c_strupr(Text); SAY("(\"aZ1\\xe4\") -> %s", Text); }
KERNEL(char *, c_strlwr, "_strlwr", char *);
TEST(_strlwr) { Fill("aZ1\xc4"); c_strlwr(Text); SAY("(\"aZ1\\xc4\") -> %s", Text); }

KERNEL(int, c_toupper, "toupper", int);
TEST(toupper) { SAY("('a', 'Z', '1', 0xe4, -1) -> %x %x %x %x %d", c_toupper('a'), c_toupper('Z'), c_toupper('1'), c_toupper(0xe4), c_toupper(-1)); }
KERNEL(int, c_tolower, "tolower", int);
TEST(tolower) { SAY("('A', 'z', '1', 0xc4) -> %x %x %x %x", c_tolower('A'), c_tolower('z'), c_tolower('1'), c_tolower(0xc4)); }
KERNEL(WCHAR, c_towupper, "towupper", WCHAR);
TEST(towupper) { SAY("('a', '1') -> %x %x", c_towupper('a'), c_towupper('1')); SAY("(0xe4) -> %x", c_towupper(0xe4)); }
KERNEL(WCHAR, c_towlower, "towlower", WCHAR);
TEST(towlower) { SAY("('A', '1') -> %x %x", c_towlower('A'), c_towlower('1')); SAY("(0xc4) -> %x", c_towlower(0xc4)); }

/* How many of the first 128, and of the others, are of the class. */
#define CLASS(name) \
    KERNEL(int, c_##name, #name, int); \
    TEST(name) \
    { \
        ULONG low = 0, high = 0, sum = 0; \
        for (int at = 0; at < 256; at++) if (c_##name(at)) { if (at < 128) low++, sum += at; else high++; } \
        SAY("(0 to 127) -> %u of them, sum %u", low, sum); \
        SAY("(128 to 255) -> %u of them", high); \
    }
CLASS(isdigit)
CLASS(isspace)
CLASS(isxdigit)
CLASS(isalpha)
CLASS(isupper)
CLASS(islower)
CLASS(isprint)

static const struct { const char *narrow; const WCHAR *wide; int base; } Numbers[] = {
    {"12", L"12", 10}, {"  -12x", L"  -12x", 10}, {"+7", L"+7", 10}, {"0x1F", L"0x1F", 0}, {"0x1F", L"0x1F", 16}, {"017", L"017", 0}, {"ff", L"ff", 16},
    {"zz", L"zz", 36}, {"x", L"x", 10}, {"", L"", 10}, {"2147483648", L"2147483648", 10}, {"-2147483649", L"-2147483649", 10},
    {"4294967296", L"4294967296", 10}, {"99999999999999999999", L"99999999999999999999", 10}, {"-1", L"-1", 10}, {"0x", L"0x", 0}, {"0b1", L"0b1", 0},
};
KERNEL(int, c_atoi, "atoi", const char *);
TEST(atoi) { SAY("(\"12\", \" -3x\", \"\", \"x\") -> %d %d %d %d", c_atoi("12"), c_atoi(" -3x"), c_atoi(""), c_atoi("x")); }
KERNEL(LONG, c_atol, "atol", const char *);
TEST(atol) { SAY("(\"12\", \" -3x\") -> %d %d", c_atol("12"), c_atol(" -3x")); }
KERNEL(int, c_wtoi, "_wtoi", const WCHAR *);
TEST(_wtoi) { SAY("(\"12\", \" -3x\") -> %d %d", c_wtoi(L"12"), c_wtoi(L" -3x")); }
KERNEL(LONG, c_wtol, "_wtol", const WCHAR *);
TEST(_wtol) { SAY("(\"12\", \" -3x\") -> %d %d", c_wtol(L"12"), c_wtol(L" -3x")); }
#define CONVERSION(name, type, unit, member) \
    KERNEL(type, c_##name, #name, const unit *, unit **, int); \
    TEST(name) \
    { \
        for (ULONG i = 0; i < COUNT(Numbers); i++) { \
            unit *end = NULL; \
            type value = c_##name(Numbers[i].member, &end, Numbers[i].base); \
            SAY("(%s, %d) -> %x, %d taken", Numbers[i].narrow, Numbers[i].base, value, (int)(end - Numbers[i].member)); \
        } \
    }
CONVERSION(strtol, LONG, char, narrow)
CONVERSION(strtoul, ULONG, char, narrow)
CONVERSION(wcstol, LONG, WCHAR, wide)
CONVERSION(wcstoul, ULONG, WCHAR, wide)

KERNEL(SIZE_T, c_wcstombs, "wcstombs", char *, const WCHAR *, SIZE_T);
TEST(wcstombs)
{
    Fill(""); int count = (int)c_wcstombs(Text, L"abc", 8); SAY("(\"abc\", 8) -> %d, %h", count, 5, Text);
    Fill(""); count = (int)c_wcstombs(Text, L"abc", 2); SAY("(\"abc\", 2) -> %d, %h", count, 4, Text);
    SAY("(NULL, \"abc\") -> %d", (int)c_wcstombs(NULL, L"abc", 0));
}
KERNEL(SIZE_T, c_mbstowcs, "mbstowcs", WCHAR *, const char *, SIZE_T);
TEST(mbstowcs)
{
    Fill(""); int count = (int)c_mbstowcs(WideText, "abc", 8); SAY("(\"abc\", 8) -> %d, %h", count, 10, WideText);
    Fill(""); count = (int)c_mbstowcs(WideText, "abc", 2); SAY("(\"abc\", 2) -> %d, %h", count, 8, WideText);
    SAY("(NULL, \"abc\") -> %d", (int)c_mbstowcs(NULL, "abc", 0));
}
KERNEL(VOID, c_srand, "srand", unsigned);
KERNEL(int, c_rand, "rand", void);
TEST(srand) { c_srand(7); int first = c_rand(); c_srand(7); SAY("(7), twice -> the same after it: %b", first == c_rand()); }
TEST(rand) { c_srand(1); int a = c_rand(), b = c_rand(); SAY("() after srand(1) -> %d %d", a, b); }

static int __cdecl Ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
KERNEL(VOID, c_qsort, "qsort", void *, SIZE_T, SIZE_T, int __cdecl (*)(const void *, const void *));
TEST(qsort) { int n[] = {5, 3, 9, 3, 1}; c_qsort(n, 5, sizeof(int), Ascending); SAY("(5 3 9 3 1) -> %d %d %d %d %d", n[0], n[1], n[2], n[3], n[4]); }
KERNEL(void *, c_bsearch, "bsearch", const void *, const void *, SIZE_T, SIZE_T, int __cdecl (*)(const void *, const void *));
TEST(bsearch)
{
    static const int n[] = {1, 3, 5, 9}; int five = 5, four = 4;
    int *found = c_bsearch(&five, n, 4, sizeof(int), Ascending);
    SAY("(5 in 1 3 5 9; 4) -> %d, %p", AT(found, n), c_bsearch(&four, n, 4, sizeof(int), Ascending));
}
KERNEL(int, c_abs, "abs", int);
TEST(abs) { SAY("(-3, 3, -2147483648) -> %d %d %d", c_abs(-3), c_abs(3), c_abs(-2147483647 - 1)); }

/* Memory. */
KERNEL(void *, c_memcpy, "memcpy", void *, const void *, SIZE_T);
TEST(memcpy) { Fill(""); BOOLEAN same = c_memcpy(Text, "abc", 4) == Text; SAY("(\"abc\", 4) -> %s, %b", Text, same); }
KERNEL(void *, c_memmove, "memmove", void *, const void *, SIZE_T);
TEST(memmove) { Fill("abcdef"); c_memmove(Text + 1, Text, 4); SAY("(one further, 4) -> %s", Text); Fill("abcdef"); c_memmove(Text, Text + 1, 4); SAY("(one back, 4) -> %s", Text); }
KERNEL(void *, c_memset, "memset", void *, int, SIZE_T);
TEST(memset) { Fill("abcdef"); c_memset(Text, 0x178, 3); SAY("(0x178, 3) -> %s", Text); }
KERNEL(int, c_memcmp, "memcmp", const void *, const void *, SIZE_T);
TEST(memcmp) { SAY("(\"ab\", \"ac\"; \"a\", \"a\"; \"\\xe4\", \"a\"; nothing) -> %d %d %d %d", Signum(c_memcmp("ab", "ac", 2)), Signum(c_memcmp("a", "a", 1)), Signum(c_memcmp("\xe4", "a", 1)), c_memcmp("a", "b", 0)); }
KERNEL(char *, c_memchr, "memchr", const void *, int, SIZE_T);
TEST(memchr) { SAY("(\"banana\", 'n', 6; 'n', 2; 'n', 0) -> %d %d %d", AT(c_memchr(Banana, 'n', 6), Banana), AT(c_memchr(Banana, 'n', 2), Banana), AT(c_memchr(Banana, 'n', 0), Banana)); }
KERNEL(VOID, k_RtlCopyMemory, "RtlCopyMemory", void *, const void *, SIZE_T);
TEST(RtlCopyMemory) { Fill(""); k_RtlCopyMemory(Text, "abc", 4); SAY("(\"abc\", 4) -> %s", Text); }
KERNEL(VOID, k_RtlCopyMemoryNonTemporal, "RtlCopyMemoryNonTemporal", void *, const void *, SIZE_T);
TEST(RtlCopyMemoryNonTemporal) { Fill(""); k_RtlCopyMemoryNonTemporal(Text, "abc", 4); SAY("(\"abc\", 4) -> %s", Text); }
KERNEL(VOID, k_RtlMoveMemory, "RtlMoveMemory", void *, const void *, SIZE_T);
TEST(RtlMoveMemory) { Fill("abcdef"); k_RtlMoveMemory(Text + 1, Text, 4); SAY("(one further, 4) -> %s", Text); }
KERNEL(VOID, k_RtlFillMemory, "RtlFillMemory", void *, SIZE_T, UCHAR);
TEST(RtlFillMemory) { Fill("abcdef"); k_RtlFillMemory(Text, 3, 'x'); SAY("(3, 'x') -> %s", Text); }
KERNEL(VOID, k_RtlZeroMemory, "RtlZeroMemory", void *, SIZE_T);
TEST(RtlZeroMemory) { Fill("abcdef"); k_RtlZeroMemory(Text, 3); SAY("(3) -> %h", 5, Text); }
KERNEL(VOID, k_RtlSecureZeroMemory, "RtlSecureZeroMemory", void *, SIZE_T);
TEST(RtlSecureZeroMemory) { Fill("abcdef"); k_RtlSecureZeroMemory(Text, 3); SAY("(3) -> %h", 5, Text); }
KERNEL(SIZE_T, k_RtlCompareMemory, "RtlCompareMemory", const void *, const void *, SIZE_T);
TEST(RtlCompareMemory) { SAY("(\"abc\", \"abd\", 3; \"abc\", \"abc\", 3; 0) -> %u %u %u", (ULONG)k_RtlCompareMemory("abc", "abd", 3), (ULONG)k_RtlCompareMemory("abc", "abc", 3), (ULONG)k_RtlCompareMemory("a", "a", 0)); }
KERNEL(SIZE_T, k_RtlCompareMemoryUlong, "RtlCompareMemoryUlong", void *, SIZE_T, ULONG);
TEST(RtlCompareMemoryUlong)
{
    ULONG words[] = {7, 7, 8};
    SAY("(7 7 8, 12 bytes, 7; 4 bytes; 6 bytes) -> %u %u %u", (ULONG)k_RtlCompareMemoryUlong(words, 12, 7), (ULONG)k_RtlCompareMemoryUlong(words, 4, 7), (ULONG)k_RtlCompareMemoryUlong(words, 6, 7));
}
