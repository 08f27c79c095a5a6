/* The registry: everything is done in a key of the driver's own, below its service's. */
#include "opinion.h"

#define ALL_KEY 0xF003F
KERNEL(NTSTATUS, k_open, "ZwOpenKey", PHANDLE, ULONG, POBJECT_ATTRIBUTES);
KERNEL(NTSTATUS, k_open_ex, "ZwOpenKeyEx", PHANDLE, ULONG, POBJECT_ATTRIBUTES, ULONG);
KERNEL(NTSTATUS, k_create, "ZwCreateKey", PHANDLE, ULONG, POBJECT_ATTRIBUTES, ULONG, PUNICODE_STRING, ULONG, PULONG);
KERNEL(NTSTATUS, k_query_value, "ZwQueryValueKey", HANDLE, PUNICODE_STRING, ULONG, PVOID, ULONG, PULONG);
KERNEL(NTSTATUS, k_set_value, "ZwSetValueKey", HANDLE, PUNICODE_STRING, ULONG, ULONG, PVOID, ULONG);
KERNEL(NTSTATUS, k_delete_value, "ZwDeleteValueKey", HANDLE, PUNICODE_STRING);
KERNEL(NTSTATUS, k_delete, "ZwDeleteKey", HANDLE);
KERNEL(NTSTATUS, k_query, "ZwQueryKey", HANDLE, ULONG, PVOID, ULONG, PULONG);
KERNEL(NTSTATUS, k_enumerate, "ZwEnumerateKey", HANDLE, ULONG, ULONG, PVOID, ULONG, PULONG);
KERNEL(NTSTATUS, k_enumerate_value, "ZwEnumerateValueKey", HANDLE, ULONG, ULONG, PVOID, ULONG, PULONG);
KERNEL(NTSTATUS, k_flush, "ZwFlushKey", HANDLE);

static NTSTATUS OpenBelow(HANDLE root, const WCHAR *name, BOOLEAN create, PHANDLE handle, PULONG disposition)
{
    UNICODE_STRING text;
    OBJECT_ATTRIBUTES attributes;
    RtlInitUnicodeString(&text, name);
    InitializeObjectAttributes(&attributes, root || !create ? &text : ServiceKey, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, root, NULL);
    return create ? k_create(handle, ALL_KEY, &attributes, 0, NULL, 0, disposition) : k_open(handle, ALL_KEY, &attributes);
}
static HANDLE OwnKey(VOID)
{
    OBJECT_ATTRIBUTES attributes;
    HANDLE handle = NULL;
    InitializeObjectAttributes(&attributes, ServiceKey, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    k_open(&handle, ALL_KEY, &attributes);
    return handle;
}
/* A key of the driver's, as it is when nothing was done with it. */
static HANDLE Fresh(const WCHAR *name)
{
    HANDLE service = OwnKey(), handle = NULL;
    if (NT_SUCCESS(OpenBelow(service, name, TRUE, &handle, NULL))) { k_delete(handle); z_close(handle); }
    OpenBelow(service, name, TRUE, &handle, NULL);
    z_close(service);
    return handle;
}
static VOID Gone(HANDLE handle) { k_delete(handle); z_close(handle); }
static NTSTATUS Set(HANDLE key, const WCHAR *name, ULONG type, const void *data, ULONG length)
{
    UNICODE_STRING text;
    RtlInitUnicodeString(&text, name);
    return k_set_value(key, &text, 0, type, (PVOID)data, length);
}

TEST(ZwOpenKey)
{
    HANDLE handle = NULL;
    OBJECT_ATTRIBUTES attributes;
    InitializeObjectAttributes(&attributes, ServiceKey, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    NTSTATUS status = k_open(&handle, ALL_KEY, &attributes);
    SAY("(the service's key) -> %x, %p", status, handle);
    HANDLE none = NULL;
    SAY("(a key that is not there) -> %x", OpenBelow(handle, L"nothing", FALSE, &none, NULL));
    SAY("(a key below one that is not there) -> %x", OpenBelow(handle, L"nothing\\below", FALSE, &none, NULL));
    SAY("(a relative name without a root) -> %x", OpenBelow(NULL, L"nothing", FALSE, &none, NULL));
    z_close(handle);
}
TEST(ZwOpenKeyEx) { HANDLE handle = NULL; OBJECT_ATTRIBUTES attributes; InitializeObjectAttributes(&attributes, ServiceKey, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL); SAY("(the service's key) -> %x", k_open_ex(&handle, ALL_KEY, &attributes, 0)); z_close(handle); }
TEST(ZwCreateKey)
{
    HANDLE service = OwnKey(), handle = NULL;
    ULONG disposition = 9;
    NTSTATUS status = OpenBelow(service, L"Created", TRUE, &handle, &disposition);
    SAY("(a new key) -> %x, %u", status, disposition);
    HANDLE again = NULL;
    status = OpenBelow(service, L"CREATED", TRUE, &again, &disposition);
    SAY("(the same in capitals) -> %x, %u", status, disposition);
    z_close(again);
    Gone(handle);
    SAY("(below a key that is not there) -> %x", OpenBelow(service, L"Missing\\Below", TRUE, &handle, &disposition));
    z_close(service);
}
static UCHAR Buffer[256] __attribute__((aligned(8)));
TEST(ZwQueryValueKey)
{
    HANDLE key = Fresh(L"Query");
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"Values"), other = RTL_CONSTANT_STRING(L"vALUES"), none = RTL_CONSTANT_STRING(L"none");
    ULONG needed = 99, number = 0x12345678;
    Set(key, L"Values", REG_DWORD, &number, 4);
    SAY("(class 3) -> %x, %u", k_query_value(key, &name, 3, Buffer, sizeof(Buffer), &needed), needed);
    SAY("(class 0, in other letters) -> %x, %h", k_query_value(key, &other, 0, Buffer, sizeof(Buffer), &needed), 12, Buffer + 12);
    for (ULONG class = 0; class < 5; class++) {
        if (class == 3) continue;
        RtlFillMemory(Buffer, sizeof(Buffer), 0xee);
        NTSTATUS status = k_query_value(key, &name, class, Buffer, sizeof(Buffer), &needed);
        SAY("(class %u) -> %x, %u, %h", class, status, needed, NT_SUCCESS(status) ? needed : 0, Buffer);
        ULONG sizes[] = {0, 8, 12, 14};
        for (ULONG i = 0; i < COUNT(sizes); i++) {
            status = k_query_value(key, &name, class, Buffer, sizes[i], &needed);
            SAY("(class %u, %u bytes) -> %x, %u", class, sizes[i], status, needed);
        }
    }
    SAY("(class 9) -> %x", k_query_value(key, &name, 9, Buffer, sizeof(Buffer), &needed));
    SAY("(no such value) -> %x", k_query_value(key, &none, 2, Buffer, sizeof(Buffer), &needed));
    Gone(key);
}
TEST(ZwSetValueKey)
{
    HANDLE key = Fresh(L"Set");
    UNICODE_STRING empty = {0, 0, NULL};
    ULONG needed = 0;
    SAY("(REG_SZ, 4 bytes) -> %x", Set(key, L"a", REG_SZ, L"x", 4));
    SAY("(REG_BINARY, nothing) -> %x", Set(key, L"b", REG_BINARY, NULL, 0));
    SAY("(type 77) -> %x", Set(key, L"c", 77, L"x", 4));
    NTSTATUS status = k_set_value(key, &empty, 0, REG_SZ, L"x", 4);
    SAY("(the default value) -> %x, reading it: %x", status, k_query_value(key, &empty, 2, Buffer, sizeof(Buffer), &needed));
    Gone(key);
}
TEST(ZwDeleteValueKey) { HANDLE key = Fresh(L"DeleteValue"); UNICODE_STRING name = RTL_CONSTANT_STRING(L"A"); Set(key, L"a", REG_SZ, L"x", 4); NTSTATUS first = k_delete_value(key, &name), second = k_delete_value(key, &name); SAY("(there; not any more) -> %x %x", first, second); Gone(key); }
TEST(ZwDeleteKey)
{
    HANDLE key = Fresh(L"Delete"), below = NULL;
    OpenBelow(key, L"Below", TRUE, &below, NULL);
    SAY("(with a key below it) -> %x", k_delete(key));
    SAY("(without one) -> %x", k_delete(below));
    ULONG needed = 0;
    SAY("(), then a query -> %x", k_query(below, 0, Buffer, sizeof(Buffer), &needed));
    z_close(below);
    Gone(key);
}
TEST(ZwQueryKey)
{
    HANDLE key = Fresh(L"QueryKey"), below = NULL;
    ULONG needed = 0;
    Set(key, L"a", REG_SZ, L"xyz", 8);
    Set(key, L"longer", REG_SZ, L"x", 4);
    OpenBelow(key, L"Below", TRUE, &below, NULL);
    NTSTATUS status = k_query(key, 0, Buffer, sizeof(Buffer), &needed);
    PKEY_BASIC_INFORMATION basic = (PVOID)Buffer;
    UNICODE_STRING name = {(USHORT)basic->NameLength, (USHORT)basic->NameLength, basic->Name};
    SAY("(basic) -> %x, %u, %w, a time: %b", status, needed, &name, basic->LastWriteTime.QuadPart != 0);
    status = k_query(key, 2, Buffer, sizeof(Buffer), &needed);
    PKEY_FULL_INFORMATION full = (PVOID)Buffer;
    SAY("(full) -> %x, %u, subkeys %u, longest %u, values %u, longest name %u, longest data %u", status, needed, full->SubKeys, full->MaxNameLen, full->Values, full->MaxValueNameLen, full->MaxValueDataLen);
    SAY("(basic, 8 bytes) -> %x, %u", k_query(key, 0, Buffer, 8, &needed), needed);
    SAY("(basic, 18 bytes) -> %x, %u", k_query(key, 0, Buffer, 18, &needed), needed);
    status = k_query(key, 1, Buffer, sizeof(Buffer), &needed);
    SAY("(node) -> %x, %u", status, needed);
    SAY("(class 77) -> %x", k_query(key, 77, Buffer, sizeof(Buffer), &needed));
    Gone(below);
    Gone(key);
}
TEST(ZwEnumerateKey)
{
    HANDLE key = Fresh(L"Enumerate"), b = NULL, a = NULL;
    ULONG needed = 0;
    OpenBelow(key, L"Bravo", TRUE, &b, NULL);
    OpenBelow(key, L"alpha", TRUE, &a, NULL);
    for (ULONG index = 0; index < 3; index++) {
        NTSTATUS status = k_enumerate(key, index, 0, Buffer, sizeof(Buffer), &needed);
        PKEY_BASIC_INFORMATION basic = (PVOID)Buffer;
        UNICODE_STRING name = {NT_SUCCESS(status) ? (USHORT)basic->NameLength : 0, 0, basic->Name};
        SAY("(%u) -> %x, %w", index, status, &name);
    }
    Gone(a);
    Gone(b);
    Gone(key);
}
TEST(ZwEnumerateValueKey)
{
    HANDLE key = Fresh(L"EnumerateValue");
    ULONG needed = 0;
    Set(key, L"only", REG_SZ, L"x", 4);
    NTSTATUS first = k_enumerate_value(key, 0, 0, Buffer, sizeof(Buffer), &needed);
    SAY("(0; 1) -> %x, %u; %x", first, needed, k_enumerate_value(key, 1, 0, Buffer, sizeof(Buffer), &needed));
    Gone(key);
}
TEST(ZwFlushKey) { HANDLE key = Fresh(L"Flush"); SAY("() -> %x", k_flush(key)); Gone(key); }

KERNEL(NTSTATUS, rr_query, "RtlQueryRegistryValues", ULONG, PCWSTR, PVOID, PVOID, PVOID);
KERNEL(NTSTATUS, rr_write, "RtlWriteRegistryValue", ULONG, PCWSTR, PCWSTR, ULONG, PVOID, ULONG);
KERNEL(NTSTATUS, rr_delete, "RtlDeleteRegistryValue", ULONG, PCWSTR, PCWSTR);
KERNEL(NTSTATUS, rr_check, "RtlCheckRegistryKey", ULONG, PCWSTR);
KERNEL(NTSTATUS, rr_create, "RtlCreateRegistryKey", ULONG, PCWSTR);
#define OWN L"opinion\\Own"
static VOID NoOwn(VOID) { HANDLE service = OwnKey(), key = NULL; if (NT_SUCCESS(OpenBelow(service, L"Own", FALSE, &key, NULL))) Gone(key); z_close(service); }
TEST(RtlCreateRegistryKey) { SAY("(SERVICES, a new key) -> %x, again %x", rr_create(RTL_REGISTRY_SERVICES, OWN), rr_create(RTL_REGISTRY_SERVICES, OWN)); NoOwn(); }
TEST(RtlCheckRegistryKey) { NTSTATUS none = rr_check(RTL_REGISTRY_SERVICES, OWN); rr_create(RTL_REGISTRY_SERVICES, OWN); SAY("(SERVICES, no key; a key) -> %x %x", none, rr_check(RTL_REGISTRY_SERVICES, OWN)); NoOwn(); }
TEST(RtlWriteRegistryValue) { rr_create(RTL_REGISTRY_SERVICES, OWN); ULONG number = 7; SAY("(SERVICES, a number) -> %x", rr_write(RTL_REGISTRY_SERVICES, OWN, L"Number", REG_DWORD, &number, 4)); NoOwn(); }
TEST(RtlDeleteRegistryValue) { rr_create(RTL_REGISTRY_SERVICES, OWN); ULONG number = 7; rr_write(RTL_REGISTRY_SERVICES, OWN, L"Number", REG_DWORD, &number, 4); NTSTATUS first = rr_delete(RTL_REGISTRY_SERVICES, OWN, L"Number"); SAY("(SERVICES, there; not any more) -> %x %x", first, rr_delete(RTL_REGISTRY_SERVICES, OWN, L"Number")); NoOwn(); }
static ULONG Queried, QueriedType, QueriedLength;
static NTSTATUS NTAPI Query(PWSTR name, ULONG type, PVOID data, ULONG length, PVOID context, PVOID entry) { Queried++; QueriedType = type; QueriedLength = length; return STATUS_SUCCESS; }
TEST(RtlQueryRegistryValues)
{
    ULONG number = 7, read = 0, fallback = 9;
    UNICODE_STRING text = {0, 0, NULL};
    RTL_QUERY_REGISTRY_TABLE table[2] = {{NULL, RTL_QUERY_REGISTRY_DIRECT, L"Number", &read, REG_NONE, NULL, 0}};
    rr_create(RTL_REGISTRY_SERVICES, OWN);
    rr_write(RTL_REGISTRY_SERVICES, OWN, L"Number", REG_DWORD, &number, 4);
    rr_write(RTL_REGISTRY_SERVICES, OWN, L"Text", REG_SZ, L"abc", 8);
    NTSTATUS status = rr_query(RTL_REGISTRY_SERVICES, OWN, table, NULL, NULL);
    SAY("(direct, a number) -> %x, %u", status, read);
    table[0].Name = L"None", table[0].DefaultType = REG_DWORD, table[0].DefaultData = &fallback, table[0].DefaultLength = 4;
    status = rr_query(RTL_REGISTRY_SERVICES, OWN, table, NULL, NULL);
    SAY("(direct, none, with a default) -> %x, %u", status, read);
    table[0].Flags |= RTL_QUERY_REGISTRY_REQUIRED, table[0].DefaultType = REG_NONE;
    SAY("(direct, none, required) -> %x", rr_query(RTL_REGISTRY_SERVICES, OWN, table, NULL, NULL));
    table[0].Flags = RTL_QUERY_REGISTRY_DIRECT, table[0].Name = L"Text", table[0].EntryContext = &text;
    status = rr_query(RTL_REGISTRY_SERVICES, OWN, table, NULL, NULL);
    SAY("(direct, a text) -> %x, %w", status, &text);
    RtlFreeUnicodeString(&text);
    table[0].Flags = 0, table[0].QueryRoutine = Query, Queried = 0;
    status = rr_query(RTL_REGISTRY_SERVICES, OWN, table, NULL, NULL);
    SAY("(a routine, a text) -> %x, called %u times with type %u, %u bytes", status, Queried, QueriedType, QueriedLength);
    SAY("(no such key) -> %x", rr_query(RTL_REGISTRY_SERVICES, L"opinion\\Nowhere", table, NULL, NULL));
    NoOwn();
}
KERNEL(NTSTATUS, rr_driver, "IoOpenDriverRegistryKey", PDRIVER_OBJECT, ULONG, ULONG, ULONG, PHANDLE);
TEST(IoOpenDriverRegistryKey) { HANDLE key = NULL; NTSTATUS status = rr_driver(Driver, 0, ALL_KEY, 0, &key); SAY("(its parameters) -> %x", status); if (key) z_close(key); }
