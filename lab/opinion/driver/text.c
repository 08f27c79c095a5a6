/* Counted strings, and what is made of them. */
#include "opinion.h"

static UNICODE_STRING Wide(const WCHAR *text)
{
    UNICODE_STRING string = {0, 0, (PWSTR)text};
    while (text[string.Length / 2]) string.Length += 2;
    string.MaximumLength = string.Length + 2;
    return string;
}

static ANSI_STRING Narrow(const char *text)
{
    ANSI_STRING string = {0, 0, (PCHAR)text};
    while (text[string.Length]) string.Length++;
    string.MaximumLength = string.Length + 1;
    return string;
}

/* A string in a buffer of `size` bytes that holds `text`. */
static UNICODE_STRING InBuffer(WCHAR *buffer, USHORT size, const WCHAR *text)
{
    UNICODE_STRING string = {0, size, buffer};
    for (; text[string.Length / 2]; string.Length += 2) buffer[string.Length / 2] = text[string.Length / 2];
    return string;
}

/* Long strings: 40000 and 32767 units. */
static WCHAR Long[40001];
static char LongNarrow[70001];

static VOID MakeLong(ULONG length)
{
    for (ULONG at = 0; at < length; at++) Long[at] = 'x';
    Long[length] = 0;
}

static VOID MakeLongNarrow(ULONG length)
{
    for (ULONG at = 0; at < length; at++) LongNarrow[at] = 'x';
    LongNarrow[length] = 0;
}

TEST(RtlInitUnicodeString)
{
    UNICODE_STRING s;
    RtlInitUnicodeString(&s, L"abc");
    SAY("(\"abc\") -> %w", &s);
    RtlInitUnicodeString(&s, L"");
    SAY("(\"\") -> %w", &s);
    RtlInitUnicodeString(&s, NULL);
    SAY("(NULL) -> %w, %p", &s, s.Buffer);
    MakeLong(40000);
    RtlInitUnicodeString(&s, Long);
    SAY("(40000 units) -> Length %u, MaximumLength %u", s.Length, s.MaximumLength);
}

KERNEL(NTSTATUS, InitUnicodeStringEx, "RtlInitUnicodeStringEx", PUNICODE_STRING, PCWSTR);
TEST(RtlInitUnicodeStringEx)
{
    UNICODE_STRING s;
    NTSTATUS status = InitUnicodeStringEx(&s, L"abc");
    SAY("(\"abc\") -> %x, %w", status, &s);
    status = InitUnicodeStringEx(&s, NULL);
    SAY("(NULL) -> %x, %w", status, &s);
    MakeLong(32766);
    SAY("(32766 units) -> %x", InitUnicodeStringEx(&s, Long));
    MakeLong(32767);
    SAY("(32767 units) -> %x", InitUnicodeStringEx(&s, Long));
}

TEST(RtlInitAnsiString)
{
    ANSI_STRING s;
    RtlInitAnsiString(&s, "abc");
    SAY("(\"abc\") -> %z", &s);
    RtlInitAnsiString(&s, NULL);
    SAY("(NULL) -> %z", &s);
    MakeLongNarrow(70000);
    RtlInitAnsiString(&s, LongNarrow);
    SAY("(70000 bytes) -> Length %u, MaximumLength %u", s.Length, s.MaximumLength);
}

TEST(RtlInitString)
{
    STRING s;
    RtlInitString(&s, "abc");
    SAY("(\"abc\") -> %z", &s);
    RtlInitString(&s, NULL);
    SAY("(NULL) -> %z", &s);
}

KERNEL(VOID, InitUtf8String, "RtlInitUTF8String", PANSI_STRING, const char *);
TEST(RtlInitUTF8String)
{
    ANSI_STRING s;
    InitUtf8String(&s, "abc");
    SAY("(\"abc\") -> %z", &s);
}

TEST(RtlCopyUnicodeString)
{
    WCHAR buffer[8] = L"zzzzzzz";
    UNICODE_STRING source = Wide(L"hello"), target = {0, 16, buffer};
    RtlCopyUnicodeString(&target, &source);
    SAY("(16 bytes, \"hello\") -> %w, then %x", &target, buffer[5]);
    target.MaximumLength = 6;
    RtlCopyUnicodeString(&target, &source);
    SAY("(6 bytes, \"hello\") -> %w", &target);
    target.MaximumLength = 10;
    buffer[5] = 'q';
    RtlCopyUnicodeString(&target, &source);
    SAY("(10 bytes, \"hello\") -> %w, then %x", &target, buffer[5]);
    target.MaximumLength = 7;
    RtlCopyUnicodeString(&target, &source);
    SAY("(7 bytes, \"hello\") -> %w", &target);
    RtlCopyUnicodeString(&target, NULL);
    SAY("(7 bytes, NULL) -> %w", &target);
}

TEST(RtlCopyString)
{
    char buffer[8] = "zzzzzzz";
    ANSI_STRING source = Narrow("hello"), target = {0, 8, buffer};
    RtlCopyString(&target, &source);
    SAY("(8 bytes, \"hello\") -> %z, then %x", &target, buffer[5]);
    target.MaximumLength = 3;
    RtlCopyString(&target, &source);
    SAY("(3 bytes, \"hello\") -> %z", &target);
    RtlCopyString(&target, NULL);
    SAY("(3 bytes, NULL) -> %z", &target);
}

TEST(RtlAppendUnicodeToString)
{
    WCHAR buffer[8];
    UNICODE_STRING s = InBuffer(buffer, 12, L"abc");
    NTSTATUS status = RtlAppendUnicodeToString(&s, L"de");
    SAY("(\"abc\" of 12 bytes, \"de\") -> %x, %w, then %x", status, &s, buffer[5]);
    status = RtlAppendUnicodeToString(&s, L"f");
    SAY("(\"abcde\" of 12 bytes, \"f\") -> %x, %w", status, &s);
    status = RtlAppendUnicodeToString(&s, L"g");
    SAY("(\"abcdef\" of 12 bytes, \"g\") -> %x, %w", status, &s);
    status = RtlAppendUnicodeToString(&s, NULL);
    SAY("(\"abcdef\" of 12 bytes, NULL) -> %x, %w", status, &s);
}

TEST(RtlAppendUnicodeStringToString)
{
    WCHAR buffer[8];
    UNICODE_STRING s = InBuffer(buffer, 12, L"abc"), more = Wide(L"def"), none = {0, 0, NULL};
    NTSTATUS status = RtlAppendUnicodeStringToString(&s, &more);
    SAY("(\"abc\" of 12 bytes, \"def\") -> %x, %w", status, &s);
    status = RtlAppendUnicodeStringToString(&s, &more);
    SAY("(\"abcdef\" of 12 bytes, \"def\") -> %x, %w", status, &s);
    status = RtlAppendUnicodeStringToString(&s, &none);
    SAY("(\"abcdef\" of 12 bytes, empty) -> %x, %w", status, &s);
}

KERNEL(NTSTATUS, AppendStringToString, "RtlAppendStringToString", PSTRING, const STRING *);
TEST(RtlAppendStringToString)
{
    char buffer[8] = "abc";
    ANSI_STRING s = {3, 6, buffer}, more = Narrow("def");
    NTSTATUS status = AppendStringToString(&s, &more);
    SAY("(\"abc\" of 6 bytes, \"def\") -> %x, %z", status, &s);
    status = AppendStringToString(&s, &more);
    SAY("(\"abcdef\" of 6 bytes, \"def\") -> %x, %z", status, &s);
}

static LONG Sign(LONG value) { return (value > 0) - (value < 0); }

TEST(RtlCompareUnicodeString)
{
    UNICODE_STRING abc = Wide(L"abc"), upper = Wide(L"ABC"), abd = Wide(L"abd"), longer = Wide(L"abcd");
    UNICODE_STRING umlaut = Wide(L"\xe4"), upper_umlaut = Wide(L"\xc4"), z = Wide(L"Z"), underscore = Wide(L"_");
    SAY("(\"abc\", \"abc\", FALSE) -> %d", Sign(RtlCompareUnicodeString(&abc, &abc, FALSE)));
    SAY("(\"abc\", \"abd\", FALSE) -> %d", Sign(RtlCompareUnicodeString(&abc, &abd, FALSE)));
    SAY("(\"abcd\", \"abc\", FALSE) -> %d", Sign(RtlCompareUnicodeString(&longer, &abc, FALSE)));
    SAY("(\"abc\", \"ABC\", FALSE) -> %d", Sign(RtlCompareUnicodeString(&abc, &upper, FALSE)));
    SAY("(\"abc\", \"ABC\", TRUE) -> %d", Sign(RtlCompareUnicodeString(&abc, &upper, TRUE)));
    SAY("(\"\\xe4\", \"\\xc4\", TRUE) -> %d", Sign(RtlCompareUnicodeString(&umlaut, &upper_umlaut, TRUE)));
    SAY("(\"Z\", \"_\", TRUE) -> %d", Sign(RtlCompareUnicodeString(&z, &underscore, TRUE)));
    SAY("(\"abc\", \"abd\", FALSE), as it is -> %d", RtlCompareUnicodeString(&abc, &abd, FALSE));
    SAY("(\"abcd\", \"abc\", FALSE), as it is -> %d", RtlCompareUnicodeString(&longer, &abc, FALSE));
}

TEST(RtlCompareUnicodeStrings)
{
    SAY("(\"ab\", \"aB\", FALSE) -> %d", Sign(RtlCompareUnicodeStrings(L"ab", 2, L"aB", 2, FALSE)));
    SAY("(\"ab\", \"aB\", TRUE) -> %d", Sign(RtlCompareUnicodeStrings(L"ab", 2, L"aB", 2, TRUE)));
    SAY("(\"\", \"a\", TRUE) -> %d", Sign(RtlCompareUnicodeStrings(L"", 0, L"a", 1, TRUE)));
}

TEST(RtlEqualUnicodeString)
{
    UNICODE_STRING abc = Wide(L"abc"), upper = Wide(L"ABC"), longer = Wide(L"abcd"), none = {0, 0, NULL};
    SAY("(\"abc\", \"ABC\", FALSE) -> %b", RtlEqualUnicodeString(&abc, &upper, FALSE));
    SAY("(\"abc\", \"ABC\", TRUE) -> %b", RtlEqualUnicodeString(&abc, &upper, TRUE));
    SAY("(\"abc\", \"abcd\", TRUE) -> %b", RtlEqualUnicodeString(&abc, &longer, TRUE));
    SAY("(empty, empty, FALSE) -> %b", RtlEqualUnicodeString(&none, &none, FALSE));
}

TEST(RtlCompareString)
{
    ANSI_STRING abc = Narrow("abc"), upper = Narrow("ABC"), high = Narrow("\xe4"), low = Narrow("a");
    SAY("(\"abc\", \"ABC\", FALSE) -> %d", Sign(RtlCompareString(&abc, &upper, FALSE)));
    SAY("(\"abc\", \"ABC\", TRUE) -> %d", Sign(RtlCompareString(&abc, &upper, TRUE)));
    SAY("(\"\\xe4\", \"a\", FALSE) -> %d", Sign(RtlCompareString(&high, &low, FALSE)));
}

TEST(RtlEqualString)
{
    ANSI_STRING abc = Narrow("abc"), upper = Narrow("ABC");
    SAY("(\"abc\", \"ABC\", FALSE) -> %b", RtlEqualString(&abc, &upper, FALSE));
    SAY("(\"abc\", \"ABC\", TRUE) -> %b", RtlEqualString(&abc, &upper, TRUE));
}

TEST(RtlPrefixUnicodeString)
{
    UNICODE_STRING ab = Wide(L"AB"), abc = Wide(L"abc"), none = {0, 0, NULL};
    SAY("(\"AB\", \"abc\", TRUE) -> %b", RtlPrefixUnicodeString(&ab, &abc, TRUE));
    SAY("(\"AB\", \"abc\", FALSE) -> %b", RtlPrefixUnicodeString(&ab, &abc, FALSE));
    SAY("(\"abc\", \"AB\", TRUE) -> %b", RtlPrefixUnicodeString(&abc, &ab, TRUE));
    SAY("(empty, \"abc\", FALSE) -> %b", RtlPrefixUnicodeString(&none, &abc, FALSE));
}

KERNEL(BOOLEAN, PrefixString, "RtlPrefixString", const STRING *, const STRING *, BOOLEAN);
TEST(RtlPrefixString)
{
    ANSI_STRING ab = Narrow("AB"), abc = Narrow("abc");
    SAY("(\"AB\", \"abc\", TRUE) -> %b", PrefixString(&ab, &abc, TRUE));
    SAY("(\"AB\", \"abc\", FALSE) -> %b", PrefixString(&ab, &abc, FALSE));
}

KERNEL(BOOLEAN, SuffixUnicodeString, "RtlSuffixUnicodeString", PCUNICODE_STRING, PCUNICODE_STRING, BOOLEAN);
TEST(RtlSuffixUnicodeString)
{
    UNICODE_STRING bc = Wide(L"BC"), abc = Wide(L"abc");
    SAY("(\"BC\", \"abc\", TRUE) -> %b", SuffixUnicodeString(&bc, &abc, TRUE));
    SAY("(\"BC\", \"abc\", FALSE) -> %b", SuffixUnicodeString(&bc, &abc, FALSE));
}

TEST(RtlHashUnicodeString)
{
    UNICODE_STRING abc = Wide(L"abc"), upper = Wide(L"ABC"), none = {0, 0, NULL};
    ULONG hash = 7;
    NTSTATUS status = RtlHashUnicodeString(&abc, FALSE, HASH_STRING_ALGORITHM_X65599, &hash);
    SAY("(\"abc\", FALSE, X65599) -> %x, %x", status, hash);
    status = RtlHashUnicodeString(&abc, TRUE, HASH_STRING_ALGORITHM_DEFAULT, &hash);
    SAY("(\"abc\", TRUE, DEFAULT) -> %x, %x", status, hash);
    status = RtlHashUnicodeString(&upper, FALSE, HASH_STRING_ALGORITHM_DEFAULT, &hash);
    SAY("(\"ABC\", FALSE, DEFAULT) -> %x, %x", status, hash);
    status = RtlHashUnicodeString(&none, FALSE, HASH_STRING_ALGORITHM_DEFAULT, &hash);
    SAY("(empty, FALSE, DEFAULT) -> %x, %x", status, hash);
    SAY("(\"abc\", FALSE, 2) -> %x", RtlHashUnicodeString(&abc, FALSE, 2, &hash));
    SAY("(\"abc\", FALSE, DEFAULT, NULL) -> %x", RtlHashUnicodeString(&abc, FALSE, HASH_STRING_ALGORITHM_DEFAULT, NULL));
}

static ULONG CountMapped(WCHAR NTAPI map(WCHAR), ULONG first, ULONG last, ULONG *sum)
{
    ULONG count = 0;
    *sum = 0;
    for (ULONG unit = first; unit <= last; unit++) {
        WCHAR mapped = map((WCHAR)unit);
        if (mapped != unit) count++;
        *sum = *sum * 31 + mapped;
    }
    return count;
}

static VOID SayMapped(WCHAR NTAPI map(WCHAR))
{
    /* Letters that Unicode has had for long. */
    static const USHORT ranges[][2] = {{0, 0x7f}, {0x80, 0xff}, {0x100, 0x17f}, {0x1a0, 0x24f}, {0x2b0, 0x36f}, {0x370, 0x3ff},
        {0x400, 0x4ff}, {0x500, 0x52f}, {0x530, 0x58f}, {0x590, 0x109f}, {0x1e00, 0x1eff}, {0x1f00, 0x1fff}, {0x2000, 0x2bff},
        {0x2c80, 0x2cff}, {0xac00, 0xfeff}, {0xff00, 0xffff}};
    for (ULONG i = 0; i < COUNT(ranges); i++) {
        ULONG sum, count = CountMapped(map, ranges[i][0], ranges[i][1], &sum);
        SAY("(each of %x to %x) -> %u are mapped, sum %x", ranges[i][0], ranges[i][1], count, sum);
    }
}

TEST(RtlUpcaseUnicodeChar)
{
    SayMapped(RtlUpcaseUnicodeChar);
    SAY("('a', '1', 0xe4, 0xff, 0xdf, 0xb5) -> %x %x %x %x %x %x", RtlUpcaseUnicodeChar('a'), RtlUpcaseUnicodeChar('1'),
        RtlUpcaseUnicodeChar(0xe4), RtlUpcaseUnicodeChar(0xff), RtlUpcaseUnicodeChar(0xdf), RtlUpcaseUnicodeChar(0xb5));
    SAY("(0x131, 0x17f, 0x1c5, 0x3c2, 0x434) -> %x %x %x %x %x", RtlUpcaseUnicodeChar(0x131), RtlUpcaseUnicodeChar(0x17f),
        RtlUpcaseUnicodeChar(0x1c5), RtlUpcaseUnicodeChar(0x3c2), RtlUpcaseUnicodeChar(0x434));
}

KERNEL(WCHAR, DowncaseUnicodeChar, "RtlDowncaseUnicodeChar", WCHAR);
TEST(RtlDowncaseUnicodeChar)
{
    SayMapped(DowncaseUnicodeChar);
    SAY("('A', 0xc4, 0x130, 0x1e9e, 0x414) -> %x %x %x %x %x", DowncaseUnicodeChar('A'), DowncaseUnicodeChar(0xc4),
        DowncaseUnicodeChar(0x130), DowncaseUnicodeChar(0x1e9e), DowncaseUnicodeChar(0x414));
}

TEST(RtlUpcaseUnicodeString)
{
    WCHAR buffer[4];
    UNICODE_STRING source = Wide(L"ab\xe4"), target = {0, sizeof(buffer), buffer};
    NTSTATUS status = RtlUpcaseUnicodeString(&target, &source, FALSE);
    SAY("(8 bytes, \"ab\\xe4\", FALSE) -> %x, %w", status, &target);
    target.MaximumLength = 4;
    target.Length = 0;
    status = RtlUpcaseUnicodeString(&target, &source, FALSE);
    SAY("(4 bytes, \"ab\\xe4\", FALSE) -> %x, %w", status, &target);
    target.MaximumLength = 6;
    SAY("(6 bytes, \"ab\\xe4\", FALSE) -> %x", RtlUpcaseUnicodeString(&target, &source, FALSE));
    status = RtlUpcaseUnicodeString(&target, &source, TRUE);
    SAY("(\"ab\\xe4\", TRUE) -> %x, %w", status, &target);
    RtlFreeUnicodeString(&target);
}

KERNEL(NTSTATUS, DowncaseUnicodeString, "RtlDowncaseUnicodeString", PUNICODE_STRING, PCUNICODE_STRING, BOOLEAN);
TEST(RtlDowncaseUnicodeString)
{
    UNICODE_STRING source = Wide(L"AB\xc4"), target = {0, 0, NULL};
    NTSTATUS status = DowncaseUnicodeString(&target, &source, TRUE);
    SAY("(\"AB\\xc4\", TRUE) -> %x, %w", status, &target);
    RtlFreeUnicodeString(&target);
    WCHAR buffer[2];
    UNICODE_STRING small = {0, 4, buffer};
    SAY("(4 bytes, \"AB\\xc4\", FALSE) -> %x", DowncaseUnicodeString(&small, &source, FALSE));
}

TEST(RtlUpperChar)
{
    SAY("('a', 'Z', '1', 0x7b) -> %x %x %x %x", (UCHAR)RtlUpperChar('a'), (UCHAR)RtlUpperChar('Z'), (UCHAR)RtlUpperChar('1'),
        (UCHAR)RtlUpperChar(0x7b));
    SAY("(0xe4) -> %x", (UCHAR)RtlUpperChar((CHAR)0xe4));
}

TEST(RtlUpperString)
{
    char buffer[4];
    ANSI_STRING source = Narrow("abcdef"), target = {0, 4, buffer};
    RtlUpperString(&target, &source);
    SAY("(4 bytes, \"abcdef\") -> %z", &target);
}

KERNEL(NTSTATUS, DuplicateUnicodeString, "RtlDuplicateUnicodeString", ULONG, PCUNICODE_STRING, PUNICODE_STRING);
TEST(RtlDuplicateUnicodeString)
{
    UNICODE_STRING source = Wide(L"abc"), none = {0, 0, NULL}, target = {0, 0, NULL};
    NTSTATUS status = DuplicateUnicodeString(0, &source, &target);
    SAY("(0, \"abc\") -> %x, %w", status, &target);
    RtlFreeUnicodeString(&target);
    status = DuplicateUnicodeString(1, &source, &target);
    SAY("(NULL_TERMINATE, \"abc\") -> %x, %w", status, &target);
    RtlFreeUnicodeString(&target);
    status = DuplicateUnicodeString(1, &none, &target);
    SAY("(NULL_TERMINATE, empty) -> %x, %w, %p", status, &target, target.Buffer);
    RtlFreeUnicodeString(&target);
    status = DuplicateUnicodeString(3, &none, &target);
    SAY("(NULL_TERMINATE and ALLOCATE_NULL_STRING, empty) -> %x, %w, %p", status, &target, target.Buffer);
    RtlFreeUnicodeString(&target);
    SAY("(2, \"abc\") -> %x", DuplicateUnicodeString(2, &source, &target));
}

TEST(RtlFreeUnicodeString)
{
    UNICODE_STRING source = Wide(L"abc"), target = {0, 0, NULL};
    DuplicateUnicodeString(0, &source, &target);
    RtlFreeUnicodeString(&target);
    SAY("(an allocated one) -> %w, %p", &target, target.Buffer);
    RtlFreeUnicodeString(&target);
    SAY("(a freed one) -> %w", &target);
}

TEST(RtlFreeAnsiString)
{
    UNICODE_STRING source = Wide(L"abc");
    ANSI_STRING target = {0, 0, NULL};
    RtlUnicodeStringToAnsiString(&target, &source, TRUE);
    RtlFreeAnsiString(&target);
    SAY("(an allocated one) -> %z, %p", &target, target.Buffer);
}

KERNEL(VOID, FreeUtf8String, "RtlFreeUTF8String", PANSI_STRING);
KERNEL(NTSTATUS, UnicodeStringToUtf8String, "RtlUnicodeStringToUTF8String", PANSI_STRING, PCUNICODE_STRING, BOOLEAN);
TEST(RtlFreeUTF8String)
{
    UNICODE_STRING source = Wide(L"abc");
    ANSI_STRING target = {0, 0, NULL};
    UnicodeStringToUtf8String(&target, &source, TRUE);
    FreeUtf8String(&target);
    SAY("(an allocated one) -> %z, %p", &target, target.Buffer);
}

TEST(RtlCreateUnicodeString)
{
    UNICODE_STRING target = {0, 0, NULL};
    BOOLEAN made = RtlCreateUnicodeString(&target, L"abc");
    SAY("(\"abc\") -> %b, %w", made, &target);
    RtlFreeUnicodeString(&target);
}

TEST(RtlAnsiStringToUnicodeString)
{
    WCHAR buffer[4];
    ANSI_STRING source = Narrow("abc"), high = Narrow("\xe4\x80");
    UNICODE_STRING target = {0, sizeof(buffer), buffer};
    NTSTATUS status = RtlAnsiStringToUnicodeString(&target, &source, FALSE);
    SAY("(8 bytes, \"abc\", FALSE) -> %x, %w", status, &target);
    target.MaximumLength = 6;
    SAY("(6 bytes, \"abc\", FALSE) -> %x", RtlAnsiStringToUnicodeString(&target, &source, FALSE));
    status = RtlAnsiStringToUnicodeString(&target, &high, TRUE);
    SAY("(\"\\xe4\\x80\", TRUE) -> %x, %w", status, &target);
    RtlFreeUnicodeString(&target);
}

TEST(RtlUnicodeStringToAnsiString)
{
    char buffer[4];
    UNICODE_STRING source = Wide(L"abc"), high = Wide(L"\xe4\x20ac\x4e00");
    ANSI_STRING target = {0, sizeof(buffer), buffer};
    NTSTATUS status = RtlUnicodeStringToAnsiString(&target, &source, FALSE);
    SAY("(4 bytes, \"abc\", FALSE) -> %x, %z", status, &target);
    target.MaximumLength = 3;
    target.Length = 0;
    status = RtlUnicodeStringToAnsiString(&target, &source, FALSE);
    SAY("(3 bytes, \"abc\", FALSE) -> %x, %z", status, &target);
    status = RtlUnicodeStringToAnsiString(&target, &high, TRUE);
    SAY("(\"\\xe4\\x20ac\\x4e00\", TRUE) -> %x, %z", status, &target);
    RtlFreeAnsiString(&target);
}

TEST(RtlUnicodeStringToUTF8String)
{
    char buffer[8];
    UNICODE_STRING source = Wide(L"a\xe4\x20ac"), lone = Wide(L"\xd800"), pair = Wide(L"\xd83d\xde00");
    ANSI_STRING target = {0, sizeof(buffer), buffer};
    NTSTATUS status = UnicodeStringToUtf8String(&target, &source, FALSE);
    SAY("(8 bytes, \"a\\xe4\\x20ac\", FALSE) -> %x, %z", status, &target);
    target.MaximumLength = 5;
    target.Length = 0;
    status = UnicodeStringToUtf8String(&target, &source, FALSE);
    SAY("(5 bytes, \"a\\xe4\\x20ac\", FALSE) -> %x", status);
    target.MaximumLength = 8;
    status = UnicodeStringToUtf8String(&target, &lone, FALSE);
    SAY("(8 bytes, \"\\xd800\", FALSE) -> %x, %z", status, &target);
    status = UnicodeStringToUtf8String(&target, &pair, FALSE);
    SAY("(8 bytes, \"\\xd83d\\xde00\", FALSE) -> %x, %z", status, &target);
}

KERNEL(NTSTATUS, Utf8StringToUnicodeString, "RtlUTF8StringToUnicodeString", PUNICODE_STRING, const ANSI_STRING *, BOOLEAN);
TEST(RtlUTF8StringToUnicodeString)
{
    ANSI_STRING source = Narrow("a\xc3\xa4\xe2\x82\xac"), bad = Narrow("a\xff" "b");
    UNICODE_STRING target = {0, 0, NULL};
    NTSTATUS status = Utf8StringToUnicodeString(&target, &source, TRUE);
    SAY("(\"a\\xc3\\xa4\\xe2\\x82\\xac\", TRUE) -> %x, %w", status, &target);
    RtlFreeUnicodeString(&target);
    status = Utf8StringToUnicodeString(&target, &bad, TRUE);
    SAY("(\"a\\xffb\", TRUE) -> %x, %w", status, &target);
    RtlFreeUnicodeString(&target);
}

TEST(RtlUnicodeToUTF8N)
{
    char out[8] = "zzzzzzz";
    ULONG written = 99;
    NTSTATUS status = RtlUnicodeToUTF8N(out, 8, &written, L"a\xe4\x20ac", 6);
    SAY("(8, \"a\\xe4\\x20ac\") -> %x, %u, %h", status, written, written, out);
    status = RtlUnicodeToUTF8N(NULL, 0, &written, L"a\xe4\x20ac", 6);
    SAY("(NULL, \"a\\xe4\\x20ac\") -> %x, %u", status, written);
    status = RtlUnicodeToUTF8N(out, 4, &written, L"a\xe4\x20ac", 6);
    SAY("(4, \"a\\xe4\\x20ac\") -> %x, %u, %h", status, written, written, out);
    status = RtlUnicodeToUTF8N(out, 8, &written, L"\xd800z", 4);
    SAY("(8, \"\\xd800z\") -> %x, %u, %h", status, written, written, out);
    status = RtlUnicodeToUTF8N(out, 8, &written, L"abc", 5);
    SAY("(8, 5 bytes of \"abc\") -> %x, %u", status, written);
    status = RtlUnicodeToUTF8N(out, 8, &written, NULL, 0);
    SAY("(8, NULL) -> %x", status);
}

TEST(RtlUTF8ToUnicodeN)
{
    WCHAR out[8];
    ULONG written = 99;
    NTSTATUS status = RtlUTF8ToUnicodeN(out, 16, &written, "a\xc3\xa4\xf0\x9f\x98\x80", 7);
    SAY("(16, \"a\\xc3\\xa4\\xf0\\x9f\\x98\\x80\") -> %x, %u, %h", status, written, written, out);
    status = RtlUTF8ToUnicodeN(NULL, 0, &written, "abc", 3);
    SAY("(NULL, \"abc\") -> %x, %u", status, written);
    status = RtlUTF8ToUnicodeN(out, 4, &written, "abc", 3);
    SAY("(4, \"abc\") -> %x, %u", status, written);
    status = RtlUTF8ToUnicodeN(out, 16, &written, "a\xff\xc3", 3);
    SAY("(16, \"a\\xff\\xc3\") -> %x, %u, %h", status, written, written, out);
}

TEST(RtlUnicodeToMultiByteN)
{
    char out[8];
    ULONG written = 99;
    NTSTATUS status = RtlUnicodeToMultiByteN(out, 8, &written, L"ab\x4e00", 6);
    SAY("(8, \"ab\\x4e00\") -> %x, %u, %h", status, written, written, out);
    status = RtlUnicodeToMultiByteN(out, 2, &written, L"abc", 6);
    SAY("(2, \"abc\") -> %x, %u, %h", status, written, written, out);
}

TEST(RtlMultiByteToUnicodeN)
{
    WCHAR out[8];
    ULONG written = 99;
    NTSTATUS status = RtlMultiByteToUnicodeN(out, 16, &written, "abc", 3);
    SAY("(16, \"abc\") -> %x, %u, %h", status, written, written, out);
    status = RtlMultiByteToUnicodeN(out, 4, &written, "abc", 3);
    SAY("(4, \"abc\") -> %x, %u, %h", status, written, written, out);
}
