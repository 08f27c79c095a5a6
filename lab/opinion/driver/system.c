/* Processors, time, tables, addresses, security, callbacks, and the rest. */
#include "opinion.h"

#undef KeQueryTickCount
#undef KeQuerySystemTime
#undef KeQueryInterruptTime
KERNEL(ULONG, c_number_ex, "KeGetCurrentProcessorNumberEx", PPROCESSOR_NUMBER);
KERNEL(ULONG, c_number, "KeGetCurrentProcessorNumber", void);
KERNEL(ULONG, c_active, "KeQueryActiveProcessorCount", PULONG_PTR);
KERNEL(ULONG, c_active_ex, "KeQueryActiveProcessorCountEx", USHORT);
KERNEL(ULONG, c_maximum, "KeQueryMaximumProcessorCount", void);
KERNEL(ULONG, c_maximum_ex, "KeQueryMaximumProcessorCountEx", USHORT);
KERNEL(ULONG_PTR, c_processors, "KeQueryActiveProcessors", void);
KERNEL(USHORT, c_groups, "KeQueryActiveGroupCount", void);
KERNEL(USHORT, c_maximum_groups, "KeQueryMaximumGroupCount", void);
KERNEL(ULONG_PTR, c_group, "KeQueryGroupAffinity", USHORT);
KERNEL(USHORT, c_node, "KeQueryHighestNodeNumber", void);
KERNEL(USHORT, c_current_node, "KeGetCurrentNodeNumber", void);
KERNEL(NTSTATUS, c_from_index, "KeGetProcessorNumberFromIndex", ULONG, PPROCESSOR_NUMBER);
KERNEL(ULONG, c_index, "KeGetProcessorIndexFromNumber", PPROCESSOR_NUMBER);
KERNEL(ULONG, c_alignment, "KeGetRecommendedSharedDataAlignment", void);
static BOOLEAN LowBits(ULONG_PTR mask, ULONG count) { return mask == (count >= 64 ? ~0ull : (1ull << count) - 1); }
TEST(KeGetCurrentProcessorNumberEx) { PROCESSOR_NUMBER number = {9, 99, 9}; ULONG index = c_number_ex(&number); SAY("() -> below the count: %b, group %u, number %b", index < c_active_ex(0xffff), number.Group, number.Number == index); }
TEST(KeGetCurrentProcessorNumber) { SAY("() -> below the count: %b", c_number() < c_active_ex(0xffff)); }
TEST(KeQueryActiveProcessorCount) { ULONG_PTR mask = 0; ULONG count = c_active(&mask); SAY("() -> at least 1: %b, as many low bits: %b", count >= 1, LowBits(mask, count)); }
TEST(KeQueryActiveProcessorCountEx) { SAY("(group 0; all groups) -> the same where there is one group: %b; group 7: %u", c_active_ex(0) == c_active_ex(0xffff), c_active_ex(7)); }
TEST(KeQueryMaximumProcessorCount) { SAY("() -> at least those of group 0: %b", c_maximum() >= c_active_ex(0)); }
TEST(KeQueryMaximumProcessorCountEx) { SAY("(0) -> at least those that are active: %b", c_maximum_ex(0) >= c_active_ex(0)); }
TEST(KeQueryActiveProcessors) { SAY("() -> as many low bits: %b", LowBits(c_processors(), c_active_ex(0))); }
TEST(KeQueryActiveGroupCount) { SAY("() -> %u", c_groups()); }
TEST(KeQueryMaximumGroupCount) { SAY("() -> %u", c_maximum_groups()); }
TEST(KeQueryGroupAffinity) { SAY("(0; 7) -> as many low bits: %b, %X", LowBits(c_group(0), c_active_ex(0)), (ULONG64)c_group(7)); }
TEST(KeQueryHighestNodeNumber) { SAY("() -> %u", c_node()); }
TEST(KeGetCurrentNodeNumber) { SAY("() -> %u", c_current_node()); }
TEST(KeGetProcessorNumberFromIndex) { PROCESSOR_NUMBER number = {9, 9, 9}; NTSTATUS status = c_from_index(0, &number); SAY("(0) -> %x, %u:%u", status, number.Group, number.Number); SAY("(9999) -> %x", c_from_index(9999, &number)); }
TEST(KeGetProcessorIndexFromNumber) { PROCESSOR_NUMBER number = {0, 0, 0}, none = {7, 0, 0}; SAY("(0:0; 7:0) -> %x %x", c_index(&number), c_index(&none)); }
TEST(KeGetRecommendedSharedDataAlignment) { SAY("() -> %u", c_alignment()); }
KERNEL(ULONG_PTR, c_ipi, "KeIpiGenericCall", PVOID, ULONG_PTR);
static ULONG_PTR NTAPI Ipi(ULONG_PTR argument) { return argument + 1; }
TEST(KeIpiGenericCall) { SAY("(5) -> %u", (ULONG)c_ipi(Ipi, 5)); }
static ULONG64 __attribute__((aligned(64))) State[128];
KERNEL(NTSTATUS, c_save, "KeSaveFloatingPointState", PVOID);
KERNEL(NTSTATUS, c_restore, "KeRestoreFloatingPointState", PVOID);
KERNEL(NTSTATUS, c_save_ex, "KeSaveExtendedProcessorState", ULONG64, PVOID);
KERNEL(VOID, c_restore_ex, "KeRestoreExtendedProcessorState", PVOID);
TEST(KeSaveFloatingPointState) { SAY("() -> %x", c_save(State)); c_restore(State); }
TEST(KeRestoreFloatingPointState) { c_save(State); SAY("() -> %x", c_restore(State)); }
TEST(KeSaveExtendedProcessorState) { SAY("(1) -> %x", c_save_ex(1, State)); c_restore_ex(State); }
TEST(KeRestoreExtendedProcessorState) { c_save_ex(1, State); c_restore_ex(State); SAY("() -> returns"); }
KERNEL(NTSTATUS, c_expand, "KeExpandKernelStackAndCallout", PVOID, PVOID, SIZE_T);
KERNEL(NTSTATUS, c_expand_ex, "KeExpandKernelStackAndCalloutEx", PVOID, PVOID, SIZE_T, BOOLEAN, PVOID);
static LONG Expanded;
static VOID NTAPI Expand(PVOID parameter) { Expanded = (LONG)(ULONG_PTR)parameter; }
TEST(KeExpandKernelStackAndCallout) { Expanded = 0; NTSTATUS status = c_expand(Expand, (PVOID)5, 8192); SAY("(5, 8192) -> %x, called with %d", status, Expanded); }
TEST(KeExpandKernelStackAndCalloutEx) { Expanded = 0; NTSTATUS status = c_expand_ex(Expand, (PVOID)6, 8192, FALSE, NULL); SAY("(6, 8192) -> %x, called with %d", status, Expanded); }

/* Time. */
KERNEL(VOID, h_precise, "KeQuerySystemTimePrecise", PLARGE_INTEGER);
KERNEL(VOID, h_system, "KeQuerySystemTime", PLARGE_INTEGER);
KERNEL(LARGE_INTEGER, h_counter, "KeQueryPerformanceCounter", PLARGE_INTEGER);
KERNEL(ULONG64, h_interrupt, "KeQueryInterruptTime", void);
KERNEL(ULONG64, h_interrupt_precise, "KeQueryInterruptTimePrecise", PULONG64);
KERNEL(ULONG64, h_unbiased, "KeQueryUnbiasedInterruptTime", void);
KERNEL(VOID, h_ticks, "KeQueryTickCount", PLARGE_INTEGER);
KERNEL(ULONG, h_increment, "KeQueryTimeIncrement", void);
KERNEL(VOID, h_stall, "KeStallExecutionProcessor", ULONG);
KERNEL(VOID, h_local, "ExSystemTimeToLocalTime", PLARGE_INTEGER, PLARGE_INTEGER);
KERNEL(VOID, h_from_local, "ExLocalTimeToSystemTime", PLARGE_INTEGER, PLARGE_INTEGER);
KERNEL(VOID, h_fields, "RtlTimeToTimeFields", PLARGE_INTEGER, PTIME_FIELDS);
KERNEL(BOOLEAN, h_from_fields, "RtlTimeFieldsToTime", PTIME_FIELDS, PLARGE_INTEGER);
#define YEAR_2020 132223104000000000ll
TEST(KeQuerySystemTimePrecise) { LARGE_INTEGER a, b; h_precise(&a); KeDelayExecutionThread(KernelMode, FALSE, &Moment); h_precise(&b); SAY("() twice -> after 2020: %b, later: %b", a.QuadPart > YEAR_2020, b.QuadPart > a.QuadPart); }
TEST(KeQuerySystemTime) { LARGE_INTEGER a = {.QuadPart = 0}; h_system(&a); SAY("() -> after 2020: %b", a.QuadPart > YEAR_2020); }
TEST(KeQueryPerformanceCounter) { LARGE_INTEGER f = {.QuadPart = 0}, a = h_counter(&f); KeDelayExecutionThread(KernelMode, FALSE, &Moment); LARGE_INTEGER b = h_counter(NULL); SAY("() twice -> %u a second, later: %b", f.LowPart, b.QuadPart > a.QuadPart); }
TEST(KeQueryInterruptTime) { ULONG64 a = h_interrupt(); KeDelayExecutionThread(KernelMode, FALSE, &Moment); KeDelayExecutionThread(KernelMode, FALSE, &Moment); SAY("() twice -> later: %b", h_interrupt() > a); }
TEST(KeQueryInterruptTimePrecise) { ULONG64 counter = 0, a = h_interrupt_precise(&counter); KeDelayExecutionThread(KernelMode, FALSE, &Moment); SAY("() twice -> later: %b", h_interrupt_precise(&counter) > a); }
TEST(KeQueryUnbiasedInterruptTime) { ULONG64 a = h_unbiased(); KeDelayExecutionThread(KernelMode, FALSE, &Moment); KeDelayExecutionThread(KernelMode, FALSE, &Moment); SAY("() twice -> later: %b", h_unbiased() > a); }
TEST(KeQueryTickCount) { LARGE_INTEGER a, b, time = {.QuadPart = -500000}; h_ticks(&a); KeDelayExecutionThread(KernelMode, FALSE, &time); h_ticks(&b); SAY("() 50 ms apart -> later: %b", b.QuadPart > a.QuadPart); }
TEST(KeQueryTimeIncrement) { ULONG increment = h_increment(); SAY("() -> 0.5 to 16 ms: %b", increment >= 5000 && increment <= 160000); }
TEST(KeStallExecutionProcessor) { LARGE_INTEGER f, a = h_counter(&f); h_stall(50); LARGE_INTEGER b = h_counter(NULL); SAY("(50) -> that long: %b", (b.QuadPart - a.QuadPart) * 1000000 / f.QuadPart >= 45); }
TEST(ExSystemTimeToLocalTime) { LARGE_INTEGER system = {.QuadPart = YEAR_2020}, local; h_local(&system, &local); SAY("(2020), within a day -> %b", local.QuadPart - system.QuadPart < 864000000000ll && system.QuadPart - local.QuadPart < 864000000000ll); }
TEST(ExLocalTimeToSystemTime) { LARGE_INTEGER system = {.QuadPart = YEAR_2020}, local, back; h_local(&system, &local); h_from_local(&local, &back); SAY("(a local time) -> back: %b", back.QuadPart == system.QuadPart); }
TEST(RtlTimeToTimeFields)
{
    static const LONG64 times[] = {0, YEAR_2020, 132275807991234567ll, 94354848000000000ll, 864000000000ll * 59, 0x7fffffffffffffffll / 2};
    for (ULONG i = 0; i < COUNT(times); i++) {
        LARGE_INTEGER time = {.QuadPart = times[i]};
        TIME_FIELDS f;
        h_fields(&time, &f);
        SAY("(%X) -> %d-%d-%d %d:%d:%d.%d, weekday %d", times[i], f.Year, f.Month, f.Day, f.Hour, f.Minute, f.Second, f.Milliseconds, f.Weekday);
    }
}
TEST(RtlTimeFieldsToTime)
{
    static const TIME_FIELDS fields[] = {{2020, 2, 29, 23, 59, 59, 999, 0}, {2021, 2, 29, 0, 0, 0, 0, 0}, {1601, 1, 1, 0, 0, 0, 0, 0}, {1600, 12, 31, 0, 0, 0, 0, 0}, {2020, 13, 1, 0, 0, 0, 0, 0},
        {2020, 4, 31, 0, 0, 0, 0, 0}, {2020, 1, 1, 24, 0, 0, 0, 0}, {2020, 1, 1, 0, 60, 0, 0, 0}, {2020, 1, 1, 0, 0, 60, 0, 0}, {2020, 1, 1, 0, 0, 0, 1000, 0}, {2020, 0, 1, 0, 0, 0, 0, 0}, {2020, 1, 0, 0, 0, 0, 0, 0}};
    for (ULONG i = 0; i < COUNT(fields); i++) {
        TIME_FIELDS f = fields[i];
        LARGE_INTEGER time = {.QuadPart = 0};
        BOOLEAN made = h_from_fields(&f, &time);
        SAY("(%d-%d-%d %d:%d:%d.%d) -> %b, %X", f.Year, f.Month, f.Day, f.Hour, f.Minute, f.Second, f.Milliseconds, made, made ? time.QuadPart : 0);
    }
}
KERNEL(PVOID, e_allocate, "ExAllocateTimer", PVOID, PVOID, ULONG);
KERNEL(BOOLEAN, e_set, "ExSetTimer", PVOID, LONG64, LONG64, PVOID);
KERNEL(BOOLEAN, e_cancel, "ExCancelTimer", PVOID, PVOID);
KERNEL(BOOLEAN, e_delete, "ExDeleteTimer", PVOID, BOOLEAN, BOOLEAN, PVOID);
static VOID NTAPI Expired(PVOID timer, PVOID context) { InterlockedIncrement((PLONG)context); }
TEST(ExAllocateTimer) { LONG calls = 0; PVOID timer = e_allocate(Expired, &calls, 0); SAY("() -> %p", timer); e_delete(timer, TRUE, TRUE, NULL); }
TEST(ExSetTimer) { LONG calls = 0; PVOID timer = e_allocate(Expired, &calls, 0); BOOLEAN a = e_set(timer, -100000000, 0, NULL), b = e_set(timer, -10000, 0, NULL); NTSTATUS status = KeWaitForSingleObject(timer, Executive, KernelMode, FALSE, &Patience); e_delete(timer, TRUE, TRUE, NULL); SAY("(far; a moment) -> %b %b, a wait: %x, called %d times", a, b, status, calls); }
TEST(ExCancelTimer) { LONG calls = 0; PVOID timer = e_allocate(Expired, &calls, 0); BOOLEAN a = e_cancel(timer, NULL); e_set(timer, -100000000, 0, NULL); BOOLEAN b = e_cancel(timer, NULL); e_delete(timer, TRUE, TRUE, NULL); SAY("(not set; set) -> %b %b", a, b); }
TEST(ExDeleteTimer) { LONG calls = 0; PVOID timer = e_allocate(Expired, &calls, 0); e_set(timer, -100000000, 0, NULL); SAY("(TRUE, TRUE) of a set one -> %b", e_delete(timer, TRUE, TRUE, NULL)); }

/* Generic tables: both kinds in the same way. */
struct table_element { LONG key; LONG value; };
static RTL_GENERIC_COMPARE_RESULTS NTAPI TableCompare(PVOID table, PVOID a, PVOID b) { LONG x = ((struct table_element *)a)->key, y = ((struct table_element *)b)->key; return x < y ? GenericLessThan : x > y ? GenericGreaterThan : GenericEqual; }
static PVOID NTAPI TableAllocate(PVOID table, CLONG size) { return p_tag(NX, size, TAG); }
static VOID NTAPI TableFree(PVOID table, PVOID memory) { p_free_tag(memory, TAG); }
#define TABLES(suffix) \
    KERNEL(VOID, init##suffix, "RtlInitializeGenericTable" #suffix, PVOID, PVOID, PVOID, PVOID, PVOID); \
    KERNEL(PVOID, insert##suffix, "RtlInsertElementGenericTable" #suffix, PVOID, PVOID, CLONG, PBOOLEAN); \
    KERNEL(BOOLEAN, delete##suffix, "RtlDeleteElementGenericTable" #suffix, PVOID, PVOID); \
    KERNEL(struct table_element *, lookup##suffix, "RtlLookupElementGenericTable" #suffix, PVOID, PVOID); \
    KERNEL(struct table_element *, enumerate##suffix, "RtlEnumerateGenericTable" #suffix, PVOID, BOOLEAN); \
    KERNEL(struct table_element *, walk##suffix, "RtlEnumerateGenericTableWithoutSplaying" #suffix, PVOID, PVOID *); \
    KERNEL(struct table_element *, get##suffix, "RtlGetElementGenericTable" #suffix, PVOID, ULONG); \
    KERNEL(ULONG, number##suffix, "RtlNumberGenericTableElements" #suffix, PVOID); \
    KERNEL(BOOLEAN, empty##suffix, "RtlIsGenericTableEmpty" #suffix, PVOID); \
    static ULONG64 Table##suffix[16]; \
    static VOID Make##suffix(VOID) { struct table_element e[] = {{3, 30}, {1, 10}, {2, 20}}; BOOLEAN new; init##suffix(Table##suffix, TableCompare, TableAllocate, TableFree, NULL); for (ULONG i = 0; i < 3; i++) insert##suffix(Table##suffix, &e[i], sizeof(e[i]), &new); } \
    static VOID Empty##suffix(VOID) { struct table_element e = {0}; for (e.key = 0; e.key < 9; e.key++) delete##suffix(Table##suffix, &e); } \
    TEST(RtlInitializeGenericTable##suffix) { init##suffix(Table##suffix, TableCompare, TableAllocate, TableFree, NULL); SAY("() -> empty: %b, %u elements", empty##suffix(Table##suffix), number##suffix(Table##suffix)); } \
    TEST(RtlInsertElementGenericTable##suffix) { struct table_element e = {5, 50}; BOOLEAN a = 9, b = 9; Make##suffix(); struct table_element *first = insert##suffix(Table##suffix, &e, sizeof(e), &a), *second = insert##suffix(Table##suffix, &e, sizeof(e), &b); SAY("(5) twice -> new %b %b, the same: %b, value %d", a, b, first == second, first->value); Empty##suffix(); } \
    TEST(RtlDeleteElementGenericTable##suffix) { struct table_element e = {2, 0}; Make##suffix(); BOOLEAN a = delete##suffix(Table##suffix, &e), b = delete##suffix(Table##suffix, &e); SAY("(2) twice -> %b %b", a, b); Empty##suffix(); } \
    TEST(RtlLookupElementGenericTable##suffix) { struct table_element e = {2, 0}, none = {7, 0}; Make##suffix(); struct table_element *found = lookup##suffix(Table##suffix, &e); SAY("(2; 7) -> value %d, %p", found ? found->value : -1, lookup##suffix(Table##suffix, &none)); Empty##suffix(); } \
    TEST(RtlEnumerateGenericTable##suffix) { Make##suffix(); struct table_element *a = enumerate##suffix(Table##suffix, TRUE), *b = enumerate##suffix(Table##suffix, FALSE), *c = enumerate##suffix(Table##suffix, FALSE); SAY("() -> %d %d %d, then %p", a->key, b->key, c->key, enumerate##suffix(Table##suffix, FALSE)); Empty##suffix(); } \
    TEST(RtlEnumerateGenericTableWithoutSplaying##suffix) { PVOID at = NULL; Make##suffix(); struct table_element *a = walk##suffix(Table##suffix, &at), *b = walk##suffix(Table##suffix, &at), *c = walk##suffix(Table##suffix, &at); SAY("() -> %d %d %d, then %p", a->key, b->key, c->key, walk##suffix(Table##suffix, &at)); Empty##suffix(); } \
    TEST(RtlGetElementGenericTable##suffix) { Make##suffix(); struct table_element *none = get##suffix(Table##suffix, 3), *some = get##suffix(Table##suffix, 0); SAY("(0; 3) -> %p, %p", some, none); Empty##suffix(); } \
    TEST(RtlNumberGenericTableElements##suffix) { Make##suffix(); SAY("() -> %u", number##suffix(Table##suffix)); Empty##suffix(); } \
    TEST(RtlIsGenericTableEmpty##suffix) { Make##suffix(); BOOLEAN full = empty##suffix(Table##suffix); Empty##suffix(); SAY("(three; none) -> %b %b", full, empty##suffix(Table##suffix)); }
TABLES()
TABLES(Avl)

/* Addresses. */
static const UCHAR V4[4] = {192, 0, 2, 235};
static const UCHAR V6[][16] = {{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, {0}, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4}, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4},
    {0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0x5e, 0xfe, 1, 2, 3, 4}, {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 0, 0, 8}};
KERNEL(PWSTR, a4w, "RtlIpv4AddressToStringW", const VOID *, PWSTR);
KERNEL(PSTR, a4a, "RtlIpv4AddressToStringA", const VOID *, PSTR);
KERNEL(PWSTR, a6w, "RtlIpv6AddressToStringW", const VOID *, PWSTR);
KERNEL(PSTR, a6a, "RtlIpv6AddressToStringA", const VOID *, PSTR);
KERNEL(NTSTATUS, a4x, "RtlIpv4AddressToStringExW", const VOID *, USHORT, PWSTR, PULONG);
KERNEL(NTSTATUS, a6x, "RtlIpv6AddressToStringExW", const VOID *, ULONG, USHORT, PWSTR, PULONG);
KERNEL(NTSTATUS, s4w, "RtlIpv4StringToAddressW", PCWSTR, BOOLEAN, PCWSTR *, PVOID);
KERNEL(NTSTATUS, s4a, "RtlIpv4StringToAddressA", PCSTR, BOOLEAN, PCSTR *, PVOID);
KERNEL(NTSTATUS, s6w, "RtlIpv6StringToAddressW", PCWSTR, PCWSTR *, PVOID);
KERNEL(NTSTATUS, s6a, "RtlIpv6StringToAddressA", PCSTR, PCSTR *, PVOID);
static WCHAR AddressText[72];
static char NarrowAddress[72];
TEST(RtlIpv4AddressToStringW) { PWSTR end = a4w(V4, AddressText); SAY("(192.0.2.235) -> %S, the end: %d", AddressText, (LONG)(end - AddressText)); }
TEST(RtlIpv4AddressToStringA) { PSTR end = a4a(V4, NarrowAddress); SAY("(192.0.2.235) -> %s, the end: %d", NarrowAddress, (LONG)(end - NarrowAddress)); }
TEST(RtlIpv6AddressToStringW) { for (ULONG i = 0; i < COUNT(V6); i++) { a6w(V6[i], AddressText); SAY("(%h) -> %S", 16, V6[i], AddressText); } }
TEST(RtlIpv6AddressToStringA) { a6a(V6[0], NarrowAddress); SAY("(%h) -> %s", 16, V6[0], NarrowAddress); }
TEST(RtlIpv4AddressToStringExW)
{
    ULONG length = 72; NTSTATUS status = a4x(V4, 0x5000, AddressText, &length); SAY("(port 80) -> %x, %S, %u", status, AddressText, length);
    length = 72; status = a4x(V4, 0, AddressText, &length); SAY("(no port) -> %x, %S, %u", status, AddressText, length);
    length = 5; status = a4x(V4, 0, AddressText, &length); SAY("(5 units) -> %x, %u", status, length);
}
TEST(RtlIpv6AddressToStringExW)
{
    ULONG length = 72; NTSTATUS status = a6x(V6[0], 3, 0x5000, AddressText, &length); SAY("(scope 3, port 80) -> %x, %S, %u", status, AddressText, length);
    length = 72; status = a6x(V6[0], 3, 0, AddressText, &length); SAY("(scope 3) -> %x, %S, %u", status, AddressText, length);
    length = 72; status = a6x(V6[0], 0, 0, AddressText, &length); SAY("(alone) -> %x, %S, %u", status, AddressText, length);
}
TEST(RtlIpv4StringToAddressW)
{
    static const WCHAR *const texts[] = {L"192.0.2.235", L"1.2.3.4x", L"1.2.3.256", L"1.2.3", L"", L"0x7f.1", L"010.0.0.1", L"1.2.3.4.5", L"4294967295"};
    for (ULONG strict = 0; strict < 2; strict++)
        for (ULONG i = 0; i < COUNT(texts); i++) { UCHAR out[4] = {0}; PCWSTR end = texts[i]; NTSTATUS status = s4w(texts[i], (BOOLEAN)strict, &end, out); SAY("(%S, %b) -> %x, %h, %d taken", texts[i], strict, status, NT_SUCCESS(status) ? 4 : 0, out, NT_SUCCESS(status) ? (LONG)(end - texts[i]) : 0); }
}
TEST(RtlIpv4StringToAddressA) { UCHAR out[4] = {0}; PCSTR end = NULL; NTSTATUS status = s4a("192.0.2.235", TRUE, &end, out); SAY("(\"192.0.2.235\") -> %x, %h", status, 4, out); }
TEST(RtlIpv6StringToAddressW)
{
    static const WCHAR *const texts[] = {L"2001:db8::1", L"::", L"::ffff:1.2.3.4", L"1:2:3:4:5:6:7:8", L"1:2:3", L"1::2::3", L"2001:db8::1/64", L"2001:DB8::1%5", L"12345::", L""};
    for (ULONG i = 0; i < COUNT(texts); i++) { UCHAR out[16] = {0}; PCWSTR end = texts[i]; NTSTATUS status = s6w(texts[i], &end, out); SAY("(%S) -> %x, %h, %d taken", texts[i], status, NT_SUCCESS(status) ? 16 : 0, out, NT_SUCCESS(status) ? (LONG)(end - texts[i]) : 0); }
}
TEST(RtlIpv6StringToAddressA) { UCHAR out[16] = {0}; PCSTR end = NULL; NTSTATUS status = s6a("2001:db8::1", &end, out); SAY("(\"2001:db8::1\") -> %x, %h", status, 16, out); }

/* Security. */
static UCHAR Sid[32] __attribute__((aligned(8))) = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0};
static UCHAR Descriptor[64] __attribute__((aligned(8))), AclSpace[64] __attribute__((aligned(8))), Target[128] __attribute__((aligned(8)));
KERNEL(ULONG, y_length, "RtlLengthSid", PVOID);
KERNEL(BOOLEAN, y_valid, "RtlValidSid", PVOID);
KERNEL(BOOLEAN, y_equal, "RtlEqualSid", PVOID, PVOID);
KERNEL(NTSTATUS, y_copy, "RtlCopySid", ULONG, PVOID, PVOID);
KERNEL(NTSTATUS, y_text, "RtlConvertSidToUnicodeString", PUNICODE_STRING, PVOID, BOOLEAN);
KERNEL(ULONG, y_required, "RtlLengthRequiredSid", ULONG);
KERNEL(NTSTATUS, y_init, "RtlInitializeSid", PVOID, PVOID, UCHAR);
KERNEL(PULONG, y_part, "RtlSubAuthoritySid", PVOID, ULONG);
KERNEL(NTSTATUS, y_acl, "RtlCreateAcl", PVOID, ULONG, ULONG);
KERNEL(NTSTATUS, y_ace, "RtlAddAccessAllowedAce", PVOID, ULONG, ULONG, PVOID);
KERNEL(NTSTATUS, y_descriptor, "RtlCreateSecurityDescriptor", PVOID, ULONG);
KERNEL(NTSTATUS, y_dacl, "RtlSetDaclSecurityDescriptor", PVOID, BOOLEAN, PVOID, BOOLEAN);
KERNEL(ULONG, y_descriptor_length, "RtlLengthSecurityDescriptor", PVOID);
KERNEL(NTSTATUS, y_owner, "RtlGetOwnerSecurityDescriptor", PVOID, PVOID *, PBOOLEAN);
KERNEL(NTSTATUS, y_relative, "RtlAbsoluteToSelfRelativeSD", PVOID, PVOID, PULONG);
KERNEL(VOID, y_map, "RtlMapGenericMask", PULONG, PGENERIC_MAPPING);
TEST(RtlLengthSid) { SAY("(S-1-5-32-544) -> %u", y_length(Sid)); }
TEST(RtlValidSid) { UCHAR bad[32] = {2, 1}; UCHAR long_one[32] = {1, 16}; SAY("(S-1-5-32-544; revision 2; 16 parts) -> %b %b %b", y_valid(Sid), y_valid(bad), y_valid(long_one)); }
TEST(RtlEqualSid) { UCHAR other[32]; RtlCopyMemory(other, Sid, 32); BOOLEAN a = y_equal(Sid, other); other[12]++; SAY("(the same; another) -> %b %b", a, y_equal(Sid, other)); }
TEST(RtlCopySid) { SAY("(16 bytes; 15) -> %x %x", y_copy(16, Target, Sid), y_copy(15, Target, Sid)); }
TEST(RtlConvertSidToUnicodeString) { WCHAR buffer[8]; UNICODE_STRING s = {0, 0, NULL}, small = {0, 16, buffer}; NTSTATUS status = y_text(&s, Sid, TRUE); SAY("(S-1-5-32-544, TRUE) -> %x, %w", status, &s); RtlFreeUnicodeString(&s); SAY("(16 bytes, FALSE) -> %x", y_text(&small, Sid, FALSE)); }
TEST(RtlLengthRequiredSid) { SAY("(0; 2) -> %u %u", y_required(0), y_required(2)); }
TEST(RtlInitializeSid) { static const UCHAR nt[6] = {0, 0, 0, 0, 0, 5}; RtlZeroMemory(Target, 32); NTSTATUS status = y_init(Target, (PVOID)nt, 2); SAY("(NT, 2) -> %x, %h", status, 8, Target); SAY("(NT, 16) -> %x", y_init(Target, (PVOID)nt, 16)); }
TEST(RtlSubAuthoritySid) { SAY("(S-1-5-32-544, 1) -> %u", *y_part(Sid, 1)); }
TEST(RtlCreateAcl) { SAY("(64, 2) -> %x, %h", y_acl(AclSpace, 64, 2), 8, AclSpace); SAY("(7, 2) -> %x", y_acl(AclSpace, 7, 2)); SAY("(64, 1) -> %x", y_acl(AclSpace, 64, 1)); SAY("(64, 5) -> %x", y_acl(AclSpace, 64, 5)); SAY("(66, 2) -> %x, %h", y_acl(AclSpace, 62, 2), 8, AclSpace); }
TEST(RtlAddAccessAllowedAce) { RtlZeroMemory(AclSpace, 64); y_acl(AclSpace, 40, 2); NTSTATUS first = y_ace(AclSpace, 2, 0x1f01ff, Sid); SAY("(40 bytes) -> %x, %h", first, 32, AclSpace); SAY("(40 bytes, a second) -> %x", y_ace(AclSpace, 2, 1, Sid)); }
TEST(RtlCreateSecurityDescriptor) { NTSTATUS status = y_descriptor(Descriptor, 1); SAY("(1) -> %x, %h", status, 40, Descriptor); SAY("(2) -> %x", y_descriptor(Descriptor, 2)); }
TEST(RtlSetDaclSecurityDescriptor) { y_descriptor(Descriptor, 1); NTSTATUS status = y_dacl(Descriptor, TRUE, NULL, FALSE); SAY("(TRUE, NULL) -> %x, control %h", status, 2, Descriptor + 2); status = y_dacl(Descriptor, TRUE, NULL, TRUE); SAY("(TRUE, NULL, defaulted) -> %x, control %h", status, 2, Descriptor + 2); status = y_dacl(Descriptor, FALSE, NULL, FALSE); SAY("(FALSE) -> %x, control %h", status, 2, Descriptor + 2); }
TEST(RtlLengthSecurityDescriptor) { y_descriptor(Descriptor, 1); ULONG none = y_descriptor_length(Descriptor); y_acl(AclSpace, 40, 2); y_dacl(Descriptor, TRUE, AclSpace, FALSE); SAY("(empty; with an ACL of 40) -> %u %u", none, y_descriptor_length(Descriptor)); }
TEST(RtlGetOwnerSecurityDescriptor) { PVOID owner = (PVOID)1; BOOLEAN defaulted = 9; y_descriptor(Descriptor, 1); NTSTATUS status = y_owner(Descriptor, &owner, &defaulted); SAY("(without one) -> %x, %p", status, owner); }
TEST(RtlAbsoluteToSelfRelativeSD) { ULONG length = 0; y_descriptor(Descriptor, 1); NTSTATUS small = y_relative(Descriptor, Target, &length); SAY("(no room) -> %x, %u", small, length); length = sizeof(Target); NTSTATUS status = y_relative(Descriptor, Target, &length); SAY("(room) -> %x, control %h", status, NT_SUCCESS(status) ? 2 : 0, Target + 2); }
TEST(RtlMapGenericMask) { GENERIC_MAPPING mapping = {1, 2, 4, 15}; ULONG masks[] = {0x80000000, 0x40000000, 0x20000000, 0x10000000, 0xc0010000}; for (ULONG i = 0; i < COUNT(masks); i++) { ULONG mask = masks[i]; y_map(&mask, &mapping); SAY("(%x) -> %x", masks[i], mask); } }
static ULONG64 Subject[4];
KERNEL(VOID, u_capture, "SeCaptureSubjectContext", PVOID);
KERNEL(VOID, u_release, "SeReleaseSubjectContext", PVOID);
KERNEL(VOID, u_lock, "SeLockSubjectContext", PVOID);
KERNEL(VOID, u_unlock, "SeUnlockSubjectContext", PVOID);
KERNEL(BOOLEAN, u_privilege, "SeSinglePrivilegeCheck", LARGE_INTEGER, CHAR);
KERNEL(PVOID, u_token, "PsReferencePrimaryToken", PVOID);
KERNEL(VOID, u_untoken, "PsDereferencePrimaryToken", PVOID);
KERNEL(BOOLEAN, u_admin, "SeTokenIsAdmin", PVOID);
KERNEL(NTSTATUS, u_name, "SeLocateProcessImageName", PVOID, PUNICODE_STRING *);
TEST(SeCaptureSubjectContext) { u_capture(Subject); u_release(Subject); SAY("() -> returns"); }
TEST(SeReleaseSubjectContext) { u_capture(Subject); u_release(Subject); SAY("() -> returns"); }
TEST(SeLockSubjectContext) { u_capture(Subject); u_lock(Subject); u_unlock(Subject); u_release(Subject); SAY("() -> returns"); }
TEST(SeUnlockSubjectContext) { u_capture(Subject); u_lock(Subject); u_unlock(Subject); u_release(Subject); SAY("() -> returns"); }
TEST(SeSinglePrivilegeCheck) { LARGE_INTEGER load = {.QuadPart = 10}; SAY("(SeLoadDriverPrivilege, KernelMode) -> %b", u_privilege(load, KernelMode)); }
TEST(PsReferencePrimaryToken) { PVOID token = u_token(IoGetCurrentProcess()); SAY("(the system process) -> %p", token); u_untoken(token); }
TEST(PsDereferencePrimaryToken) { u_untoken(u_token(IoGetCurrentProcess())); SAY("() -> returns"); }
TEST(SeTokenIsAdmin) { PVOID token = u_token(IoGetCurrentProcess()); SAY("(the system's) -> %b", u_admin(token)); u_untoken(token); }
TEST(SeLocateProcessImageName) { PUNICODE_STRING name = NULL; NTSTATUS status = u_name(IoGetCurrentProcess(), &name); SAY("(the system process) -> %x, %p", status, name); if (name) p_free(name); }

/* Callbacks and notifications. */
KERNEL(NTSTATUS, n_process, "PsSetCreateProcessNotifyRoutine", PVOID, BOOLEAN);
KERNEL(NTSTATUS, n_process_ex, "PsSetCreateProcessNotifyRoutineEx", PVOID, BOOLEAN);
KERNEL(NTSTATUS, n_process_ex2, "PsSetCreateProcessNotifyRoutineEx2", ULONG, PVOID, BOOLEAN);
KERNEL(NTSTATUS, n_thread, "PsSetCreateThreadNotifyRoutine", PVOID);
KERNEL(NTSTATUS, n_no_thread, "PsRemoveCreateThreadNotifyRoutine", PVOID);
KERNEL(NTSTATUS, n_image, "PsSetLoadImageNotifyRoutine", PVOID);
KERNEL(NTSTATUS, n_no_image, "PsRemoveLoadImageNotifyRoutine", PVOID);
KERNEL(NTSTATUS, n_registry, "CmRegisterCallback", PVOID, PVOID, PLARGE_INTEGER);
KERNEL(NTSTATUS, n_no_registry, "CmUnRegisterCallback", LARGE_INTEGER);
KERNEL(NTSTATUS, n_registry_ex, "CmRegisterCallbackEx", PVOID, PCUNICODE_STRING, PVOID, PVOID, PLARGE_INTEGER, PVOID);
static VOID NTAPI Notify(PVOID a, PVOID b, PVOID c) {}
static NTSTATUS NTAPI NotifyStatus(PVOID a, PVOID b, PVOID c) { return STATUS_SUCCESS; }
#define SET_REMOVE(name, set, remove) TEST(name) { NTSTATUS a = set, b = remove; SAY("() -> %x, removed %x", a, b); }
SET_REMOVE(PsSetCreateProcessNotifyRoutine, n_process(Notify, FALSE), n_process(Notify, TRUE))
SET_REMOVE(PsSetCreateProcessNotifyRoutineEx, n_process_ex(Notify, FALSE), n_process_ex(Notify, TRUE))
SET_REMOVE(PsSetCreateProcessNotifyRoutineEx2, n_process_ex2(0, Notify, FALSE), n_process_ex2(0, Notify, TRUE))
SET_REMOVE(PsSetCreateThreadNotifyRoutine, n_thread(Notify), n_no_thread(Notify))
SET_REMOVE(PsRemoveCreateThreadNotifyRoutine, n_thread(Notify), n_no_thread(Notify))
SET_REMOVE(PsSetLoadImageNotifyRoutine, n_image(Notify), n_no_image(Notify))
SET_REMOVE(PsRemoveLoadImageNotifyRoutine, n_image(Notify), n_no_image(Notify))
TEST(CmRegisterCallback) { LARGE_INTEGER cookie = {.QuadPart = 0}; SAY("() -> %x", n_registry(NotifyStatus, NULL, &cookie)); n_no_registry(cookie); }
TEST(CmUnRegisterCallback) { LARGE_INTEGER cookie = {.QuadPart = 0}; n_registry(NotifyStatus, NULL, &cookie); SAY("() -> %x", n_no_registry(cookie)); }
TEST(CmRegisterCallbackEx) { LARGE_INTEGER cookie = {.QuadPart = 0}; UNICODE_STRING altitude = RTL_CONSTANT_STRING(L"385000.7"); SAY("() -> %x", n_registry_ex(NotifyStatus, &altitude, Driver, NULL, &cookie, NULL)); n_no_registry(cookie); }
KERNEL(NTSTATUS, b_extension, "IoAllocateDriverObjectExtension", PDRIVER_OBJECT, PVOID, ULONG, PVOID *);
KERNEL(PVOID, b_get, "IoGetDriverObjectExtension", PDRIVER_OBJECT, PVOID);
TEST(IoAllocateDriverObjectExtension) { PVOID a = NULL, b = NULL; NTSTATUS first = b_extension(Driver, (PVOID)1, 16, &a), second = b_extension(Driver, (PVOID)1, 16, &b); SAY("(client 1) twice -> %x %p, %x", first, a, second); }
TEST(IoGetDriverObjectExtension) { PVOID a = NULL; b_extension(Driver, (PVOID)2, 16, &a); SAY("(client 2; 3) -> it: %b, %p", b_get(Driver, (PVOID)2) == a, b_get(Driver, (PVOID)3)); }
KERNEL(VOID, b_again, "IoRegisterDriverReinitialization", PDRIVER_OBJECT, PVOID, PVOID);
static VOID NTAPI Reinitialise(PDRIVER_OBJECT driver, PVOID context, ULONG count) {}
TEST(IoRegisterDriverReinitialization) { b_again(Driver, Reinitialise, NULL); SAY("() -> returns"); }
KERNEL(PVOID, b_log, "IoAllocateErrorLogEntry", PVOID, UCHAR);
KERNEL(VOID, b_unlog, "IoFreeErrorLogEntry", PVOID);
TEST(IoAllocateErrorLogEntry) { PVOID entry = b_log(Driver, 48); SAY("(48) -> %p", entry); b_unlog(entry); }
TEST(IoFreeErrorLogEntry) { b_unlog(b_log(Driver, 48)); SAY("() -> returns"); }

/* What there is to ask. */
KERNEL(BOOLEAN, w_version, "PsGetVersion", PULONG, PULONG, PULONG, PUNICODE_STRING);
KERNEL(CHAR, w_mode, "ExGetPreviousMode", void);
KERNEL(BOOLEAN, w_feature, "ExIsProcessorFeaturePresent", ULONG);
KERNEL(BOOLEAN, w_suite, "ExVerifySuite", ULONG);
KERNEL(NTSTATUS, w_verifier, "MmIsVerifierEnabled", PULONG);
KERNEL(ULONG, w_verifying, "MmIsDriverVerifying", PDRIVER_OBJECT);
KERNEL(NTSTATUS, w_yield, "ZwYieldExecution", void);
KERNEL(NTSTATUS, w_query, "ObQueryNameString", PVOID, PVOID, ULONG, PULONG);
KERNEL(VOID, w_attach, "KeStackAttachProcess", PVOID, PVOID);
KERNEL(VOID, w_detach, "KeUnstackDetachProcess", PVOID);
KERNEL(BOOLEAN, w_debugger, "KdRefreshDebuggerNotPresent", void);
TEST(PsGetVersion) { ULONG major = 9, minor = 9, build = 9; UNICODE_STRING pack = {0}; BOOLEAN checked = w_version(&major, &minor, &build, &pack); SAY("() -> %b, %u.%u", checked, major, minor); }
TEST(ExGetPreviousMode) { SAY("() in DriverEntry -> %d", w_mode()); }
TEST(ExIsProcessorFeaturePresent) { SAY("(XMMI, XMMI64, COMPARE_EXCHANGE128) -> %b %b %b", w_feature(6), w_feature(10), w_feature(14)); SAY("(FLOATING_POINT_EMULATED) -> %b", w_feature(1)); SAY("(RDTSC) -> %b", w_feature(8)); SAY("(NX) -> %b", w_feature(12)); SAY("(SSE3) -> %b", w_feature(13)); SAY("(999) -> %b", w_feature(999)); }
TEST(ExVerifySuite) { SAY("(Enterprise) -> %b", w_suite(1)); }
TEST(MmIsVerifierEnabled) { ULONG flags = 9; NTSTATUS status = w_verifier(&flags); SAY("() -> a success: %b", NT_SUCCESS(status)); }
TEST(MmIsDriverVerifying) { SAY("(this driver) -> %u", w_verifying(Driver)); }
TEST(ZwYieldExecution) { SAY("() -> a success: %b", NT_SUCCESS(w_yield())); }
TEST(ObQueryNameString) { ULONG needed = 0; NTSTATUS status = w_query(Device, Target, 0, &needed); SAY("(the device, no room) -> %x, %u", status, needed); static ULONG64 room[32]; status = w_query(Device, room, sizeof(room), &needed); SAY("(the device) -> %x, %w", status, (PUNICODE_STRING)room); }
static ULONG64 Apc[16];
TEST(KeStackAttachProcess) { w_attach(IoGetCurrentProcess(), Apc); w_detach(Apc); SAY("(this process) -> returns"); }
TEST(KeUnstackDetachProcess) { w_attach(IoGetCurrentProcess(), Apc); w_detach(Apc); SAY("() -> returns"); }
TEST(KdRefreshDebuggerNotPresent) { SAY("() -> %b", w_debugger()); }
#define TYPE_VARIABLE(name) KERNEL_DATA(PVOID, x_##name) __asm__(#name); TEST(name) { VARIABLE(x_##name); SAY("() -> %p", x_##name); }
TYPE_VARIABLE(IoFileObjectType)
TYPE_VARIABLE(IoDriverObjectType)
TYPE_VARIABLE(IoDeviceObjectType)
TYPE_VARIABLE(ExEventObjectType)
TYPE_VARIABLE(ExSemaphoreObjectType)
TYPE_VARIABLE(PsThreadType)
TYPE_VARIABLE(PsProcessType)
TYPE_VARIABLE(SeTokenObjectType)
TYPE_VARIABLE(CmKeyObjectType)
#define WORD_VARIABLE(name, type, conversion) KERNEL_DATA(type, x_##name) __asm__(#name); TEST(name) { VARIABLE(x_##name); SAY("() -> " conversion, x_##name); }
WORD_VARIABLE(InitSafeBootMode, ULONG, "%u")
WORD_VARIABLE(KdDebuggerEnabled, UCHAR, "%b")
WORD_VARIABLE(KdDebuggerNotPresent, UCHAR, "%b")
WORD_VARIABLE(NlsMbCodePageTag, UCHAR, "%b")
KERNEL_DATA(ULONG, x_build) __asm__("NtBuildNumber");
KERNEL_DATA(CHAR, x_number) __asm__("KeNumberProcessors");
TEST(NtBuildNumber) { VARIABLE(x_build); ULONG build = 0; w_version(NULL, NULL, &build, NULL); SAY("() -> PsGetVersion's in the low word: %b, a free build: %b", (x_build & 0xffff) == build, x_build >> 28 == 0xf); }
TEST(KeNumberProcessors) { VARIABLE(x_number); SAY("() -> at least 1: %b", x_number >= 1); }
