/* Numbers, GUIDs, addresses, versions, bitmaps: the run-time library, strings apart. */
#include "opinion.h"

TEST(RtlIntegerToUnicodeString)
{
    WCHAR buffer[40];
    UNICODE_STRING s = {0, sizeof(buffer), buffer};
    ULONG bases[] = {0, 2, 8, 10, 16, 7};
    for (ULONG i = 0; i < COUNT(bases); i++) {
        s.Length = 0;
        NTSTATUS status = RtlIntegerToUnicodeString(48879, bases[i], &s);
        SAY("(48879, %u) -> %x, %w", bases[i], status, &s);
    }
    s.MaximumLength = 10;
    s.Length = 0;
    buffer[5] = 'q';
    NTSTATUS status = RtlIntegerToUnicodeString(12345, 10, &s);
    SAY("(12345, 10) in 10 bytes -> %x, then %x", status, buffer[5]);
    s.MaximumLength = 12;
    status = RtlIntegerToUnicodeString(12345, 10, &s);
    SAY("(12345, 10) in 12 bytes -> %x, %w, then %x", status, &s, buffer[5]);
    s.MaximumLength = 8;
    status = RtlIntegerToUnicodeString(12345, 10, &s);
    SAY("(12345, 10) in 8 bytes -> %x", status);
    s.MaximumLength = sizeof(buffer);
    status = RtlIntegerToUnicodeString(0xffffffff, 16, &s);
    SAY("(0xffffffff, 16) -> %x, %w", status, &s);
}

TEST(RtlInt64ToUnicodeString)
{
    WCHAR buffer[70];
    UNICODE_STRING s = {0, sizeof(buffer), buffer};
    NTSTATUS status = RtlInt64ToUnicodeString(0x8000000000000000ull, 16, &s);
    SAY("(0x8000000000000000, 16) -> %x, %w", status, &s);
    status = RtlInt64ToUnicodeString(~0ull, 10, &s);
    SAY("(0xffffffffffffffff, 10) -> %x, %w", status, &s);
    status = RtlInt64ToUnicodeString(0, 2, &s);
    SAY("(0, 2) -> %x, %w", status, &s);
    status = RtlInt64ToUnicodeString(0, 3, &s);
    SAY("(0, 3) -> %x", status);
}

static const struct { const WCHAR *wide; const char *narrow; ULONG base; } Integers[] = {
    {L"123", "123", 10}, {L"123", "123", 0}, {L"  123", "  123", 0}, {L"0x1F", "0x1F", 0}, {L"0X1F", "0X1F", 0}, {L"0o17", "0o17", 0},
    {L"0b101", "0b101", 0}, {L"017", "017", 0}, {L"-5", "-5", 0}, {L"+5", "+5", 0}, {L"12x", "12x", 10}, {L"x12", "x12", 10},
    {L"", "", 10}, {L"ff", "ff", 16}, {L"0xff", "0xff", 16}, {L"8", "8", 8}, {L"99", "99", 8}, {L"4294967296", "4294967296", 10},
    {L"4294967295", "4294967295", 10}, {L"1", "1", 7}, {L"- 5", "- 5", 0}, {L"\t7", "\t7", 0}, {L"101", "101", 2},
};

TEST(RtlUnicodeStringToInteger)
{
    for (ULONG i = 0; i < COUNT(Integers); i++) {
        UNICODE_STRING s;
        ULONG value = 77;
        RtlInitUnicodeString(&s, Integers[i].wide);
        NTSTATUS status = RtlUnicodeStringToInteger(&s, Integers[i].base, &value);
        SAY("(%S, %u) -> %x, %x", Integers[i].wide, Integers[i].base, status, value);
    }
}

KERNEL(NTSTATUS, CharToInteger, "RtlCharToInteger", const char *, ULONG, PULONG);
TEST(RtlCharToInteger)
{
    for (ULONG i = 0; i < COUNT(Integers); i++) {
        ULONG value = 77;
        NTSTATUS status = CharToInteger(Integers[i].narrow, Integers[i].base, &value);
        SAY("(%s, %u) -> %x, %x", Integers[i].narrow, Integers[i].base, status, value);
    }
}

static const GUID Guid = {0x01234567, 0x89ab, 0xcdef, {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}};

TEST(RtlStringFromGUID)
{
    UNICODE_STRING s = {0, 0, NULL};
    NTSTATUS status = RtlStringFromGUID(&Guid, &s);
    SAY("(a GUID) -> %x, %w", status, &s);
    RtlFreeUnicodeString(&s);
}

TEST(RtlGUIDFromString)
{
    static const WCHAR *const texts[] = {
        L"{01234567-89ab-cdef-0123-456789abcdef}", L"{01234567-89AB-CDEF-0123-456789ABCDEF}", L"01234567-89ab-cdef-0123-456789abcdef",
        L"{01234567-89ab-cdef-0123-456789abcde}", L"{01234567-89ab-cdef-0123-456789abcdef}x", L"{0123456789abcdef0123456789abcdef}",
        L"{01234567-89ab-cdef-0123-456789abcdeg}", L"",
    };
    for (ULONG i = 0; i < COUNT(texts); i++) {
        UNICODE_STRING s;
        GUID guid = {0};
        RtlInitUnicodeString(&s, texts[i]);
        NTSTATUS status = RtlGUIDFromString(&s, &guid);
        SAY("(%S) -> %x, %b", texts[i], status, RtlCompareMemory(&guid, &Guid, sizeof(guid)) == sizeof(guid));
    }
}

TEST(ExUuidCreate)
{
    GUID a = {0}, b = {0};
    NTSTATUS status = ExUuidCreate(&a);
    ExUuidCreate(&b);
    SAY("() -> %x; the next is another: %b", status, RtlCompareMemory(&a, &b, sizeof(a)) != sizeof(a));
    SAY("(), its variant -> %x", a.Data4[0] & 0xc0);
}

TEST(RtlGetVersion)
{
    RTL_OSVERSIONINFOEXW v = {.dwOSVersionInfoSize = sizeof(RTL_OSVERSIONINFOW), .wProductType = 0x55};
    NTSTATUS status = RtlGetVersion((PRTL_OSVERSIONINFOW)&v);
    SAY("(276 bytes) -> %x, %u.%u, platform %u, product type %x", status, v.dwMajorVersion, v.dwMinorVersion, v.dwPlatformId, v.wProductType);
    SAY("(276 bytes), the build -> %u", v.dwBuildNumber);
    v.dwOSVersionInfoSize = sizeof(v);
    status = RtlGetVersion((PRTL_OSVERSIONINFOW)&v);
    SAY("(284 bytes) -> %x, product type %x, service pack %u", status, v.wProductType, v.wServicePackMajor);
    SAY("(284 bytes), the suite -> %x", v.wSuiteMask);
}

static NTSTATUS Verify(ULONG major, ULONG minor, ULONG build, ULONG mask, UCHAR condition)
{
    RTL_OSVERSIONINFOEXW v = {sizeof(v), major, minor, build};
    ULONGLONG conditions = 0;
    for (ULONG bit = 1; bit < 8; bit <<= 1)
        if (mask & bit) conditions = VerSetConditionMask(conditions, bit, condition);
    return RtlVerifyVersionInfo(&v, mask, conditions);
}

TEST(RtlVerifyVersionInfo)
{
    SAY("(10.0, major and minor, >=) -> %x", Verify(10, 0, 0, 3, VER_GREATER_EQUAL));
    SAY("(6.1, major and minor, >=) -> %x", Verify(6, 1, 0, 3, VER_GREATER_EQUAL));
    SAY("(10.1, major and minor, >=) -> %x", Verify(10, 1, 0, 3, VER_GREATER_EQUAL));
    SAY("(11.0, major, >=) -> %x", Verify(11, 0, 0, 2, VER_GREATER_EQUAL));
    SAY("(10, major, =) -> %x", Verify(10, 0, 0, 2, VER_EQUAL));
    SAY("(6, major, =) -> %x", Verify(6, 0, 0, 2, VER_EQUAL));
    SAY("(6, major, >) -> %x", Verify(6, 0, 0, 2, VER_GREATER));
    SAY("(10, major, >) -> %x", Verify(10, 0, 0, 2, VER_GREATER));
    SAY("(11, major, <) -> %x", Verify(11, 0, 0, 2, VER_LESS));
    SAY("(10, major, <=) -> %x", Verify(10, 0, 0, 2, VER_LESS_EQUAL));
    SAY("(build 1, >) -> %x", Verify(0, 0, 1, 4, VER_GREATER));
    SAY("(nothing) -> %x", Verify(10, 0, 0, 0, VER_GREATER));
}

TEST(VerSetConditionMask)
{
    SAY("(0, VER_MAJORVERSION, >=) -> %X", VerSetConditionMask(0, VER_MAJORVERSION, VER_GREATER_EQUAL));
    SAY("(0, VER_MINORVERSION, =) -> %X", VerSetConditionMask(0, VER_MINORVERSION, VER_EQUAL));
    SAY("(0, VER_PRODUCT_TYPE, =) -> %X", VerSetConditionMask(0, VER_PRODUCT_TYPE, VER_EQUAL));
    SAY("(0, VER_SUITENAME, VER_OR) -> %X", VerSetConditionMask(0, VER_SUITENAME, VER_OR));
    SAY("(1, VER_BUILDNUMBER, <) -> %X", VerSetConditionMask(1, VER_BUILDNUMBER, VER_LESS));
    SAY("(0, 0, =) -> %X", VerSetConditionMask(0, 0, VER_EQUAL));
}

KERNEL(BOOLEAN, IsNtDdiVersionAvailable, "RtlIsNtDdiVersionAvailable", ULONG);
#undef RtlIsNtDdiVersionAvailable
TEST(RtlIsNtDdiVersionAvailable)
{
    SAY("(NTDDI_VISTA) -> %b", IsNtDdiVersionAvailable(0x06000000));
    SAY("(NTDDI_WIN10) -> %b", IsNtDdiVersionAvailable(0x0A000000));
    SAY("(0x7f000000) -> %b", IsNtDdiVersionAvailable(0x7f000000));
    SAY("(0x06010001: a service pack) -> %b", IsNtDdiVersionAvailable(0x06010001));
}

KERNEL(ULONG, Random, "RtlRandom", PULONG);
TEST(RtlRandom)
{
    ULONG seed = 5, first = Random(&seed), second = Random(&seed);
    SAY("(5) -> below 0x7fffffff: %b, another each time: %b, another seed: %b", first < 0x7fffffff, first != second, seed != 5);
}

TEST(RtlRandomEx)
{
    ULONG seed = 5, first = RtlRandomEx(&seed), second = RtlRandomEx(&seed);
    SAY("(5) -> below 0x80000000: %b, another each time: %b, another seed: %b", first < 0x80000000, first != second, seed != 5);
}

KERNEL(ULONG, ComputeCrc32, "RtlComputeCrc32", ULONG, const void *, ULONG);
TEST(RtlComputeCrc32)
{
    SAY("(0, \"123456789\") -> %x", ComputeCrc32(0, "123456789", 9));
    SAY("(1, \"abc\") -> %x", ComputeCrc32(1, "abc", 3));
    SAY("(0xffffffff, nothing) -> %x", ComputeCrc32(0xffffffff, "", 0));
}

KERNEL(ULONG, UlongByteSwap, "RtlUlongByteSwap", ULONG);
TEST(RtlUlongByteSwap) { SAY("(0x12345678) -> %x", UlongByteSwap(0x12345678)); }
KERNEL(ULONGLONG, UlonglongByteSwap, "RtlUlonglongByteSwap", ULONGLONG);
TEST(RtlUlonglongByteSwap) { SAY("(0x123456789abcdef0) -> %X", UlonglongByteSwap(0x123456789abcdef0ull)); }
KERNEL(USHORT, UshortByteSwap, "RtlUshortByteSwap", USHORT);
TEST(RtlUshortByteSwap) { SAY("(0x1234) -> %x", UshortByteSwap(0x1234)); }

static const NTSTATUS Statuses[] = {
    0, 1, 0x102, 0x103, 0x40000000, 0x40000005, 0x80000005, 0x80000006, 0xc0000001, 0xc0000002, 0xc0000003, 0xc0000005, 0xc0000008,
    0xc000000d, 0xc000000e, 0xc0000010, 0xc0000011, 0xc0000017, 0xc0000022, 0xc0000023, 0xc0000024, 0xc0000033, 0xc0000034, 0xc0000035,
    0xc000003a, 0xc0000043, 0xc0000056, 0xc0000061, 0xc000009a, 0xc00000b5, 0xc00000bb, 0xc00000e5, 0xc0000120, 0xc0000184, 0xc0000206,
    0xc0000225, 0xc0070005, 0x80070057, 0xc0220005, 0xc022001b, 0xdeadbeef, 0x12345678,
};

KERNEL(ULONG, NtStatusToDosError, "RtlNtStatusToDosError", NTSTATUS);
TEST(RtlNtStatusToDosError)
{
    for (ULONG i = 0; i < COUNT(Statuses); i++) SAY("(%x) -> %x", Statuses[i], NtStatusToDosError(Statuses[i]));
}

KERNEL(ULONG, NtStatusToDosErrorNoTeb, "RtlNtStatusToDosErrorNoTeb", NTSTATUS);
TEST(RtlNtStatusToDosErrorNoTeb)
{
    SAY("(0xc0000022) -> %x", NtStatusToDosErrorNoTeb(0xc0000022));
}

KERNEL(NTSTATUS, FindMessage, "RtlFindMessage", PVOID, ULONG, ULONG, ULONG, PVOID *);
TEST(RtlFindMessage)
{
    PVOID entry = NULL;
    SAY("(an image without messages) -> %b", NT_SUCCESS(FindMessage(Driver->DriverStart, 11, 0, 1, &entry)));
}

static ULONG Bits[2];
static RTL_BITMAP Map;

static VOID MakeMap(ULONG size, ULONG low, ULONG high)
{
    Bits[0] = low;
    Bits[1] = high;
    RtlInitializeBitMap(&Map, Bits, size);
}

TEST(RtlInitializeBitMap)
{
    MakeMap(40, 1, 2);
    SAY("(40) -> %u, %b, %x %x", Map.SizeOfBitMap, Map.Buffer == Bits, Bits[0], Bits[1]);
}

TEST(RtlSetBits)
{
    MakeMap(40, 0, 0);
    RtlSetBits(&Map, 28, 8);
    SAY("(28, 8) -> %x %x", Bits[0], Bits[1]);
    RtlSetBits(&Map, 3, 0);
    SAY("(3, 0) -> %x %x", Bits[0], Bits[1]);
}

TEST(RtlClearBits)
{
    MakeMap(40, ~0u, ~0u);
    RtlClearBits(&Map, 30, 5);
    SAY("(30, 5) -> %x %x", Bits[0], Bits[1]);
}

KERNEL(VOID, SetBit, "RtlSetBit", PRTL_BITMAP, ULONG);
TEST(RtlSetBit) { MakeMap(40, 0, 0); SetBit(&Map, 33); SAY("(33) -> %x %x", Bits[0], Bits[1]); }
KERNEL(VOID, ClearBit, "RtlClearBit", PRTL_BITMAP, ULONG);
TEST(RtlClearBit) { MakeMap(40, ~0u, ~0u); ClearBit(&Map, 33); SAY("(33) -> %x %x", Bits[0], Bits[1]); }
KERNEL(BOOLEAN, TestBit, "RtlTestBit", PRTL_BITMAP, ULONG);
TEST(RtlTestBit) { MakeMap(40, 4, 1); SAY("(2, 3, 32) -> %b %b %b", TestBit(&Map, 2), TestBit(&Map, 3), TestBit(&Map, 32)); }

TEST(RtlClearAllBits)
{
    MakeMap(40, ~0u, ~0u);
    RtlClearAllBits(&Map);
    SAY("(40 of 64 set) -> %x, and the first 8 of the rest: %x", Bits[0], Bits[1] & 0xff);
    SAY("(40 of 64 set), what is beyond the bitmap -> %x", Bits[1] >> 8);
}

TEST(RtlSetAllBits)
{
    MakeMap(40, 0, 0);
    RtlSetAllBits(&Map);
    SAY("(40 of 64 clear) -> %x, and the first 8 of the rest: %x", Bits[0], Bits[1] & 0xff);
    SAY("(40 of 64 clear), what is beyond the bitmap -> %x", Bits[1] >> 8);
}

TEST(RtlAreBitsClear)
{
    MakeMap(40, 0x0f, 0);
    SAY("(4, 36) -> %b", RtlAreBitsClear(&Map, 4, 36));
    SAY("(3, 2) -> %b", RtlAreBitsClear(&Map, 3, 2));
    SAY("(4, 37: beyond the end) -> %b", RtlAreBitsClear(&Map, 4, 37));
    SAY("(4, 0) -> %b", RtlAreBitsClear(&Map, 4, 0));
}

TEST(RtlAreBitsSet)
{
    MakeMap(40, 0x0f, 0xff);
    SAY("(0, 4) -> %b", RtlAreBitsSet(&Map, 0, 4));
    SAY("(0, 5) -> %b", RtlAreBitsSet(&Map, 0, 5));
    SAY("(32, 9: beyond the end) -> %b", RtlAreBitsSet(&Map, 32, 9));
    SAY("(0, 0) -> %b", RtlAreBitsSet(&Map, 0, 0));
}

TEST(RtlFindClearBits)
{
    MakeMap(40, 0x0f0f, 0);
    SAY("(4, 0) -> %x", RtlFindClearBits(&Map, 4, 0));
    SAY("(4, 5) -> %x", RtlFindClearBits(&Map, 4, 5));
    SAY("(5, 0) -> %x", RtlFindClearBits(&Map, 5, 0));
    SAY("(4, 38: wraps) -> %x", RtlFindClearBits(&Map, 4, 38));
    SAY("(41, 0) -> %x", RtlFindClearBits(&Map, 41, 0));
    SAY("(0, 9) -> %x", RtlFindClearBits(&Map, 0, 9));
    SAY("(4, 100: beyond the end) -> %x", RtlFindClearBits(&Map, 4, 100));
}

TEST(RtlFindClearBitsAndSet)
{
    MakeMap(40, 0x0f0f, 0);
    ULONG at = RtlFindClearBitsAndSet(&Map, 4, 0);
    SAY("(4, 0) -> %x, %x %x", at, Bits[0], Bits[1]);
    at = RtlFindClearBitsAndSet(&Map, 33, 0);
    SAY("(33, 0) -> %x, %x %x", at, Bits[0], Bits[1]);
}

TEST(RtlNumberOfSetBits)
{
    MakeMap(40, 0x80000001, 0xffffff80);
    SAY("(3 in 40, more beyond) -> %u", RtlNumberOfSetBits(&Map));
}
