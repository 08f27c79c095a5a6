/* C's view of the management API, by mingw-w64's own fwpmu.h: adds objects, reads them back in every way, compares each member, and
 * deletes them. What is sent and what comes back has passed our fwpuclnt.dll and the engine in fwpkclnt.sys. */

#define _WIN32_WINNT 0x0A00
#include <winsock2.h>
#include <windows.h>
#include <fwpmu.h>
#include <winioctl.h>
#include <stdio.h>

static int passed, failed;

static void check(int right, const char *what, int line) {
    if (right) {
        passed++;
    } else {
        failed++;
        printf("FAILED: marshalling.c:%d: %s\n", line, what);
    }
}
#define CHECK(condition) check(!!(condition), #condition, __LINE__)

static void check_code(DWORD code, DWORD expected, const char *what, int line) {
    if (code != expected) printf("%s returned %#lx, not %#lx\n", what, code, expected);
    check(code == expected, what, line);
}
#define RETURNS(expected, call) check_code((call), (expected), #call, __LINE__)
#define SUCCEEDS(call) RETURNS(ERROR_SUCCESS, call)

/* mingw-w64's headers do not have all constants. */
#define FWPM_SESSION_FLAG_DYNAMIC 1
#define FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT 8
#define FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED 0x10
#define ERROR_CALLOUT_NOT_FOUND 0x80320001UL
#define ERROR_FILTER_NOT_FOUND 0x80320003UL
#define ERROR_LAYER_NOT_FOUND 0x80320004UL
#define ERROR_PROVIDER_NOT_FOUND 0x80320005UL
#define ERROR_SUBLAYER_NOT_FOUND 0x80320007UL
#define ERROR_ALREADY_EXISTS_FWP 0x80320009UL
#define ERROR_IN_USE_FWP 0x8032000AUL
#define ERROR_NO_TXN_IN_PROGRESS 0x8032000DUL
#define ERROR_NET_EVENTS_DISABLED 0x80320013UL
#define ERROR_INVALID_ENUMERATOR_FWP 0x8032001DUL
#define ERROR_NULL_DISPLAY_NAME 0x80320023UL
#define ERROR_TYPE_MISMATCH_FWP 0x80320027UL
#define ERROR_OUT_OF_BOUNDS 0x80320028UL
#define ERROR_DYNAMIC_SESSION_IN_PROGRESS 0x8032000BUL
#define FWPM_NET_EVENT_FLAG_ALL_OF_ALE_V4 0x17f
#define MS_FWP_DIRECTION_OUT 0x3901

static const GUID LAYER = {0xc38d57d1, 0x05a7, 0x4c33, {0x90, 0x4f, 0x7f, 0xbc, 0xee, 0xe6, 0x0e, 0x82}};
static const GUID LAYER_V6 = {0x4a72393b, 0x319f, 0x44bc, {0x84, 0xc3, 0xba, 0x54, 0xdc, 0xb3, 0xb6, 0xb4}};
static const GUID PROTOCOL = {0x3971ef2b, 0x623e, 0x4f9a, {0x8c, 0xb1, 0x6e, 0x79, 0xb8, 0x06, 0xb9, 0xa7}};
static const GUID REMOTE_PORT = {0xc35a604d, 0xd22b, 0x4e1a, {0x91, 0xb4, 0x68, 0xf6, 0x74, 0xee, 0x67, 0x4b}};
static const GUID LOCAL_PORT = {0x0c1ba1af, 0x5765, 0x453f, {0xaf, 0x22, 0xa8, 0xf7, 0x91, 0xac, 0x77, 0x5b}};
static const GUID REMOTE_ADDRESS = {0xb235ae9a, 0x1d64, 0x49b8, {0xa4, 0x4c, 0x5f, 0xf3, 0xd9, 0x09, 0x50, 0x45}};
static const GUID LOCAL_ADDRESS = {0xd9ee00de, 0xc1ef, 0x4617, {0xbf, 0xe3, 0xff, 0xd8, 0xf5, 0xa0, 0x89, 0x57}};
static const GUID APP_ID = {0xd78e1e87, 0x8644, 0x4ea5, {0x94, 0x37, 0xd8, 0x09, 0xec, 0xef, 0xc9, 0x71}};
static const GUID USER_ID = {0xaf043a0a, 0xb34d, 0x4f86, {0x97, 0x9c, 0xc9, 0x03, 0x71, 0xaf, 0x6e, 0x66}};
static const GUID PACKAGE_ID = {0x71bc78fa, 0xf17c, 0x4997, {0xa6, 0x02, 0x6a, 0xbb, 0x26, 0x1f, 0x35, 0x1c}};
static const GUID FLAGS = {0x632ce23b, 0x5167, 0x435c, {0x86, 0xd7, 0xe9, 0x03, 0x68, 0x4a, 0xa8, 0x0c}};
static const GUID INTERFACE_LUID = {0x4cd62a49, 0x59c3, 0x4969, {0xb7, 0xf3, 0xbd, 0xa5, 0xd3, 0x28, 0x90, 0xa4}};

static GUID PROVIDER_KEY = {0x70000001, 1, 2, {1, 2, 3, 4, 5, 6, 7, 8}};
static GUID SUBLAYER_KEY = {0x70000002, 1, 2, {1, 2, 3, 4, 5, 6, 7, 8}};
static GUID CALLOUT_KEY = {0x70000003, 1, 2, {1, 2, 3, 4, 5, 6, 7, 8}};
static GUID FILTER_KEY = {0x70000004, 1, 2, {1, 2, 3, 4, 5, 6, 7, 8}};
static GUID FILTER_KEY_V6 = {0x70000005, 1, 2, {1, 2, 3, 4, 5, 6, 7, 8}};
static GUID NOTHING = {0x7000ffff, 1, 2, {1, 2, 3, 4, 5, 6, 7, 8}};

static wchar_t NAME[] = L"Pf\u00f6rtchen \u2603";
static wchar_t DESCRIPTION[] = L"made by C";
static UINT8 DATA[] = {0, 1, 2, 0xfe, 0xff};
/* S-1-15-2-1 */
static UINT8 SID_BYTES[] = {1, 2, 0, 0, 0, 0, 0, 15, 2, 0, 0, 0, 1, 0, 0, 0};
/* Self-relative: everyone, full access to match. */
static UINT8 DESCRIPTOR[] = {1, 0, 4, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 28, 0, 1, 0, 0, 0,
                             0, 0, 20, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};

static HANDLE engine;

static int same_guid(const GUID *a, const GUID *b) { return a && b && !memcmp(a, b, sizeof *a); }
static int same_blob(const FWP_BYTE_BLOB *a, const FWP_BYTE_BLOB *b) {
    return a->size == b->size && !memcmp(a->data, b->data, a->size);
}
static int same_display(const FWPM_DISPLAY_DATA0 *a, const FWPM_DISPLAY_DATA0 *b) {
    return !wcscmp(a->name, b->name) && !wcscmp(a->description, b->description);
}

static int same_value(const FWP_VALUE0 *a, const FWP_VALUE0 *b) {
    if (a->type != b->type) return 0;
    switch (a->type) {
    case FWP_EMPTY: return 1;
    case FWP_UINT8: return a->uint8 == b->uint8;
    case FWP_UINT16: return a->uint16 == b->uint16;
    case FWP_UINT32: return a->uint32 == b->uint32;
    case FWP_UINT64: return *a->uint64 == *b->uint64;
    case FWP_BYTE_ARRAY16_TYPE: return !memcmp(a->byteArray16, b->byteArray16, sizeof *a->byteArray16);
    case FWP_BYTE_BLOB_TYPE: return same_blob(a->byteBlob, b->byteBlob);
    case FWP_SECURITY_DESCRIPTOR_TYPE: return same_blob(a->sd, b->sd);
    case FWP_SID: return !memcmp(a->sid, b->sid, sizeof SID_BYTES);
    default: return 0;
    }
}

static int same_condition(const FWPM_FILTER_CONDITION0 *a, const FWPM_FILTER_CONDITION0 *b) {
    const FWP_CONDITION_VALUE0 *x = &a->conditionValue, *y = &b->conditionValue;
    if (!same_guid(&a->fieldKey, &b->fieldKey) || a->matchType != b->matchType || x->type != y->type) return 0;
    switch (x->type) {
    case FWP_V4_ADDR_MASK: return !memcmp(x->v4AddrMask, y->v4AddrMask, sizeof *x->v4AddrMask);
    case FWP_V6_ADDR_MASK:
        return !memcmp(x->v6AddrMask->addr, y->v6AddrMask->addr, 16) && x->v6AddrMask->prefixLength == y->v6AddrMask->prefixLength;
    case FWP_RANGE_TYPE:
        return same_value(&x->rangeValue->valueLow, &y->rangeValue->valueLow) &&
               same_value(&x->rangeValue->valueHigh, &y->rangeValue->valueHigh);
    default: return same_value((const FWP_VALUE0 *)x, (const FWP_VALUE0 *)y);
    }
}

static void same_filter(const FWPM_FILTER0 *a, const FWPM_FILTER0 *b, UINT64 id) {
    CHECK(same_guid(&a->filterKey, &b->filterKey));
    CHECK(same_display(&a->displayData, &b->displayData));
    /* Windows sets FWPM_FILTER_FLAG_INDEXED (0x40) as it likes. */
    CHECK((a->flags & ~0x40u) == b->flags);
    CHECK(same_guid(a->providerKey, b->providerKey));
    CHECK(same_blob(&a->providerData, &b->providerData));
    CHECK(same_guid(&a->layerKey, &b->layerKey));
    CHECK(same_guid(&a->subLayerKey, &b->subLayerKey));
    CHECK(same_value(&a->weight, &b->weight));
    CHECK(a->numFilterConditions == b->numFilterConditions);
    for (UINT32 i = 0; i < b->numFilterConditions; i++) CHECK(same_condition(&a->filterCondition[i], &b->filterCondition[i]));
    CHECK(a->action.type == b->action.type);
    if (b->action.type & FWP_ACTION_FLAG_CALLOUT) CHECK(same_guid(&a->action.calloutKey, &b->action.calloutKey));
    CHECK(a->rawContext == b->rawContext);
    CHECK(a->reserved == NULL);
    CHECK(a->filterId == id);
    CHECK(a->effectiveWeight.type == FWP_UINT64 && a->effectiveWeight.uint64 != NULL);
}

static void provider(void) {
    FWPM_PROVIDER0 sent = {PROVIDER_KEY, {NAME, DESCRIPTION}, 0, {sizeof DATA, DATA}, L"postern"}, *read = NULL, **all;
    HANDLE handle;
    UINT32 count, found = 0;

    SUCCEEDS(FwpmProviderAdd0(engine, &sent, NULL));
    RETURNS(ERROR_ALREADY_EXISTS_FWP, FwpmProviderAdd0(engine, &sent, NULL));
    SUCCEEDS(FwpmProviderGetByKey0(engine, &PROVIDER_KEY, &read));
    CHECK(same_guid(&read->providerKey, &sent.providerKey));
    CHECK(same_display(&read->displayData, &sent.displayData));
    CHECK(read->flags == sent.flags);
    CHECK(same_blob(&read->providerData, &sent.providerData));
    CHECK(!wcscmp(read->serviceName, sent.serviceName));
    FwpmFreeMemory0((void **)&read);
    CHECK(read == NULL);
    RETURNS(ERROR_PROVIDER_NOT_FOUND, FwpmProviderGetByKey0(engine, &NOTHING, &read));

    SUCCEEDS(FwpmProviderCreateEnumHandle0(engine, NULL, &handle));
    do {
        SUCCEEDS(FwpmProviderEnum0(engine, handle, 2, &all, &count));
        CHECK(count <= 2);
        for (UINT32 i = 0; i < count; i++) found += same_guid(&all[i]->providerKey, &PROVIDER_KEY);
        FwpmFreeMemory0((void **)&all);
    } while (count == 2);
    CHECK(found == 1);
    SUCCEEDS(FwpmProviderDestroyEnumHandle0(engine, handle));
    RETURNS(ERROR_INVALID_HANDLE, FwpmProviderDestroyEnumHandle0(engine, handle));
}

static void sublayer(void) {
    FWPM_SUBLAYER0 sent = {SUBLAYER_KEY, {NAME, DESCRIPTION}, 0, &PROVIDER_KEY, {sizeof DATA, DATA}, 0x1234}, *read = NULL;
    SUCCEEDS(FwpmSubLayerAdd0(engine, &sent, NULL));
    SUCCEEDS(FwpmSubLayerGetByKey0(engine, &SUBLAYER_KEY, &read));
    CHECK(same_guid(&read->subLayerKey, &sent.subLayerKey));
    CHECK(same_display(&read->displayData, &sent.displayData));
    CHECK(read->flags == sent.flags);
    CHECK(same_guid(read->providerKey, sent.providerKey));
    CHECK(same_blob(&read->providerData, &sent.providerData));
    CHECK(read->weight == sent.weight);
    FwpmFreeMemory0((void **)&read);
    RETURNS(ERROR_SUBLAYER_NOT_FOUND, FwpmSubLayerGetByKey0(engine, &NOTHING, &read));
}

static void callout(void) {
    FWPM_CALLOUT0 sent = {CALLOUT_KEY, {NAME, DESCRIPTION}, 0, &PROVIDER_KEY, {sizeof DATA, DATA}, LAYER, 0}, *read = NULL, *by_id = NULL;
    UINT32 id = 0;
    SUCCEEDS(FwpmCalloutAdd0(engine, &sent, NULL, &id));
    CHECK(id > 256);
    SUCCEEDS(FwpmCalloutGetByKey0(engine, &CALLOUT_KEY, &read));
    CHECK(same_guid(&read->calloutKey, &sent.calloutKey));
    CHECK(same_display(&read->displayData, &sent.displayData));
    CHECK(read->flags == sent.flags);
    CHECK(same_guid(read->providerKey, sent.providerKey));
    CHECK(same_blob(&read->providerData, &sent.providerData));
    CHECK(same_guid(&read->applicableLayer, &sent.applicableLayer));
    CHECK(read->calloutId == id);
    SUCCEEDS(FwpmCalloutGetById0(engine, id, &by_id));
    CHECK(same_guid(&by_id->calloutKey, &CALLOUT_KEY));
    FwpmFreeMemory0((void **)&read);
    FwpmFreeMemory0((void **)&by_id);
    RETURNS(ERROR_CALLOUT_NOT_FOUND, FwpmCalloutGetByKey0(engine, &NOTHING, &read));
}

static UINT64 filter_v4(FWP_BYTE_BLOB *app) {
    FWP_V4_ADDR_AND_MASK network = {0xC0000200, 0xFFFFFF00};
    FWP_RANGE0 ports = {{FWP_UINT16, .uint16 = 1}, {FWP_UINT16, .uint16 = 1024}};
    FWP_BYTE_BLOB descriptor = {sizeof DESCRIPTOR, DESCRIPTOR};
    UINT64 luid = 0x0006008000000000, weight = 0x0123456789abcdef;
    FWPM_FILTER_CONDITION0 conditions[] = {
        {PROTOCOL, FWP_MATCH_EQUAL, {FWP_UINT8, .uint8 = 6}},
        {REMOTE_ADDRESS, FWP_MATCH_EQUAL, {FWP_V4_ADDR_MASK, .v4AddrMask = &network}},
        {LOCAL_ADDRESS, FWP_MATCH_NOT_EQUAL, {FWP_UINT32, .uint32 = 0x7F000001}},
        {REMOTE_PORT, FWP_MATCH_RANGE, {FWP_RANGE_TYPE, .rangeValue = &ports}},
        {LOCAL_PORT, FWP_MATCH_GREATER, {FWP_UINT16, .uint16 = 49151}},
        {APP_ID, FWP_MATCH_EQUAL, {FWP_BYTE_BLOB_TYPE, .byteBlob = app}},
        {USER_ID, FWP_MATCH_EQUAL, {FWP_SECURITY_DESCRIPTOR_TYPE, .sd = &descriptor}},
        {PACKAGE_ID, FWP_MATCH_EQUAL, {FWP_SID, .sid = (SID *)SID_BYTES}},
        {FLAGS, FWP_MATCH_FLAGS_NONE_SET, {FWP_UINT32, .uint32 = 1}},
        {INTERFACE_LUID, FWP_MATCH_EQUAL, {FWP_UINT64, .uint64 = &luid}},
    };
    FWPM_FILTER0 sent = {
        .filterKey = FILTER_KEY,
        .displayData = {NAME, DESCRIPTION},
        .flags = FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED | FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT,
        .providerKey = &PROVIDER_KEY,
        .providerData = {sizeof DATA, DATA},
        .layerKey = LAYER,
        .subLayerKey = SUBLAYER_KEY,
        .weight = {FWP_UINT64, .uint64 = &weight},
        .numFilterConditions = ARRAYSIZE(conditions),
        .filterCondition = conditions,
        .action = {FWP_ACTION_CALLOUT_TERMINATING, .calloutKey = CALLOUT_KEY},
        .rawContext = 0x0100000000000001,
    };
    FWPM_FILTER0 *read = NULL;
    UINT64 id = 0;

    SUCCEEDS(FwpmFilterAdd0(engine, &sent, NULL, &id));
    CHECK(id != 0);
    SUCCEEDS(FwpmFilterGetByKey0(engine, &FILTER_KEY, &read));
    same_filter(read, &sent, id);
    CHECK(*read->effectiveWeight.uint64 == weight);
    FwpmFreeMemory0((void **)&read);
    SUCCEEDS(FwpmFilterGetById0(engine, id, &read));
    same_filter(read, &sent, id);
    FwpmFreeMemory0((void **)&read);
    RETURNS(ERROR_FILTER_NOT_FOUND, FwpmFilterGetByKey0(engine, &NOTHING, &read));
    sent.filterKey = NOTHING;
    sent.displayData.name = NULL;
    RETURNS(ERROR_NULL_DISPLAY_NAME, FwpmFilterAdd0(engine, &sent, NULL, &id));
    sent.displayData.name = NAME;
    sent.layerKey = NOTHING;
    RETURNS(ERROR_LAYER_NOT_FOUND, FwpmFilterAdd0(engine, &sent, NULL, &id));
    return id;
}

static void filter_v6(void) {
    FWP_V6_ADDR_AND_MASK network = {{0x20, 1, 0x0d, 0xb8}, 32};
    FWP_BYTE_ARRAY16 low = {{0xfe, 0x80}}, high = {{0xfe, 0x80, [15] = 0xff}};
    FWP_RANGE0 addresses = {{FWP_BYTE_ARRAY16_TYPE, .byteArray16 = &low}, {FWP_BYTE_ARRAY16_TYPE, .byteArray16 = &high}};
    FWPM_FILTER_CONDITION0 conditions[] = {
        {REMOTE_ADDRESS, FWP_MATCH_EQUAL, {FWP_V6_ADDR_MASK, .v6AddrMask = &network}},
        {LOCAL_ADDRESS, FWP_MATCH_RANGE, {FWP_RANGE_TYPE, .rangeValue = &addresses}},
    };
    FWPM_FILTER0 sent = {
        .filterKey = FILTER_KEY_V6,
        .displayData = {NAME, DESCRIPTION},
        .providerKey = &PROVIDER_KEY,
        .providerData = {sizeof DATA, DATA},
        .layerKey = LAYER_V6,
        .subLayerKey = SUBLAYER_KEY,
        .weight = {FWP_UINT8, .uint8 = 7},
        .numFilterConditions = ARRAYSIZE(conditions),
        .filterCondition = conditions,
        .action = {FWP_ACTION_BLOCK},
    };
    FWPM_FILTER_ENUM_TEMPLATE0 template = {.providerKey = &PROVIDER_KEY, .layerKey = LAYER_V6, .actionMask = 0xFFFFFFFF};
    FWPM_FILTER0 **all = NULL;
    HANDLE handle;
    UINT32 count = 0;
    UINT64 id = 0;

    SUCCEEDS(FwpmFilterAdd0(engine, &sent, NULL, &id));
    SUCCEEDS(FwpmFilterCreateEnumHandle0(engine, &template, &handle));
    SUCCEEDS(FwpmFilterEnum0(engine, handle, 10, &all, &count));
    CHECK(count == 1);
    if (count == 1) {
        same_filter(all[0], &sent, id);
        CHECK(*all[0]->effectiveWeight.uint64 >> 60 == 7);
    }
    FwpmFreeMemory0((void **)&all);
    SUCCEEDS(FwpmFilterDestroyEnumHandle0(engine, handle));
}

static void session(void) {
    FWPM_SESSION0 **all = NULL;
    HANDLE handle;
    UINT32 count = 0, found = 0;
    SUCCEEDS(FwpmSessionCreateEnumHandle0(engine, NULL, &handle));
    SUCCEEDS(FwpmSessionEnum0(engine, handle, 100, &all, &count));
    for (UINT32 i = 0; i < count; i++) {
        if (all[i]->processId != GetCurrentProcessId()) continue;
        found++;
        CHECK(!wcscmp(all[i]->displayData.name, NAME));
        CHECK(all[i]->flags == FWPM_SESSION_FLAG_DYNAMIC);
        CHECK(all[i]->txnWaitTimeoutInMSec == 2500);
        CHECK(!all[i]->kernelMode);
        CHECK(all[i]->username != NULL);
    }
    CHECK(found == 1);
    FwpmFreeMemory0((void **)&all);
    SUCCEEDS(FwpmSessionDestroyEnumHandle0(engine, handle));
}

static void layer(void) {
    FWPM_LAYER0 *read = NULL;
    SUCCEEDS(FwpmLayerGetById0(engine, 48, &read));
    CHECK(same_guid(&read->layerKey, &LAYER));
    CHECK(read->layerId == 48);
    CHECK(read->numFields > 30);
    CHECK(read->field[0].fieldKey != NULL);
    FwpmFreeMemory0((void **)&read);
}

/* Traffic, which only the engine's own device knows how to make: a TCP connection of this program that a filter blocks. */
static void connect_in_vain(void) {
    static const char request[] =
        "{\"Connection\":{\"inbound\":false,\"protocol\":6,\"local\":\"192.168.0.2:50000\",\"remote\":\"192.0.2.7:443\","
        "\"app\":\"\\\\device\\\\c.exe\"}}";
    char answer[4096];
    DWORD length = 0;
    HANDLE device = CreateFileW(L"\\\\.\\PosternFilterEngine", GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(device != INVALID_HANDLE_VALUE);
    CHECK(DeviceIoControl(device, CTL_CODE(FILE_DEVICE_NETWORK, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS), (void *)request,
                          sizeof request - 1, answer, sizeof answer - 1, &length, NULL));
    answer[length] = 0;
    CHECK(strstr(answer, "\"blocked\":true") != NULL);
    CloseHandle(device);
}

static void same_drop(const FWPM_NET_EVENT1 *event, UINT64 filter) {
    static const wchar_t app[] = L"\\device\\c.exe";
    /* S-1-5-21-1-2-3-1001, the lab's user. */
    static const UINT8 user[] = {1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0xe9, 3, 0, 0};
    const FWPM_NET_EVENT_HEADER1 *header = &event->header;
    const FWPM_NET_EVENT_CLASSIFY_DROP1 *drop = event->classifyDrop;
    FILETIME now;
    GetSystemTimeAsFileTime(&now);
    CHECK(CompareFileTime(&header->timeStamp, &now) <= 0);
    CHECK(now.dwHighDateTime - header->timeStamp.dwHighDateTime <= 1);
    CHECK(header->flags == FWPM_NET_EVENT_FLAG_ALL_OF_ALE_V4);
    CHECK(header->ipVersion == FWP_IP_VERSION_V4);
    CHECK(header->ipProtocol == 6);
    CHECK(header->localAddrV4 == 0xc0a80002);
    CHECK(header->remoteAddrV4 == 0xc0000207);
    CHECK(header->localPort == 50000);
    CHECK(header->remotePort == 443);
    CHECK(header->scopeId == 0);
    CHECK(header->appId.size == sizeof app && !memcmp(header->appId.data, app, sizeof app));
    CHECK(header->userId != NULL && !memcmp(header->userId, user, sizeof user));
    CHECK(event->type == FWPM_NET_EVENT_TYPE_CLASSIFY_DROP);
    CHECK(drop != NULL && drop->filterId == filter);
    CHECK(drop->layerId == 48);
    CHECK(drop->reauthReason == 0);
    CHECK(drop->originalProfile == 1 && drop->currentProfile == 1);
    CHECK(drop->msFwpDirection == MS_FWP_DIRECTION_OUT);
    CHECK(!drop->isLoopback);
}

struct told {
    HANDLE arrived;
    UINT64 filter;
    int events;
};

static void CALLBACK on_event(void *context, const FWPM_NET_EVENT1 *event) {
    struct told *told = context;
    same_drop(event, told->filter);
    told->events++;
    SetEvent(told->arrived);
}

static void options(void) {
    FWP_VALUE0 *value = NULL, wrong = {FWP_UINT64, .uint64 = NULL}, keywords = {FWP_UINT32, .uint32 = 0x10}, off = {FWP_UINT32, .uint32 = 0};
    HANDLE handle;
    SUCCEEDS(FwpmEngineGetOption0(engine, FWPM_ENGINE_COLLECT_NET_EVENTS, &value));
    CHECK(value->type == FWP_UINT32 && value->uint32 == 1);
    FwpmFreeMemory0((void **)&value);
    RETURNS(ERROR_INVALID_ENUMERATOR_FWP, FwpmEngineGetOption0(engine, (FWPM_ENGINE_OPTION)99, &value));
    RETURNS(ERROR_TYPE_MISMATCH_FWP, FwpmEngineSetOption0(engine, FWPM_ENGINE_COLLECT_NET_EVENTS, &wrong));
    RETURNS(ERROR_OUT_OF_BOUNDS, FwpmEngineSetOption0(engine, FWPM_ENGINE_COLLECT_NET_EVENTS, &keywords));
    SUCCEEDS(FwpmEngineSetOption0(engine, FWPM_ENGINE_NET_EVENT_MATCH_ANY_KEYWORDS, &keywords));
    SUCCEEDS(FwpmEngineGetOption0(engine, FWPM_ENGINE_NET_EVENT_MATCH_ANY_KEYWORDS, &value));
    CHECK(value->uint32 == 0x10);
    FwpmFreeMemory0((void **)&value);
    SUCCEEDS(FwpmEngineSetOption0(engine, FWPM_ENGINE_NET_EVENT_MATCH_ANY_KEYWORDS, &off));
    SUCCEEDS(FwpmEngineSetOption0(engine, FWPM_ENGINE_COLLECT_NET_EVENTS, &off));
    RETURNS(ERROR_NET_EVENTS_DISABLED, FwpmNetEventCreateEnumHandle0(engine, NULL, &handle));
    off.uint32 = 1;
    SUCCEEDS(FwpmEngineSetOption0(engine, FWPM_ENGINE_COLLECT_NET_EVENTS, &off));
}

static void net_events(void) {
    FWPM_FILTER0 block = {
        .filterKey = FILTER_KEY,
        .displayData = {NAME, DESCRIPTION},
        .layerKey = LAYER,
        .weight = {FWP_EMPTY},
        .action = {FWP_ACTION_BLOCK},
    };
    FWPM_NET_EVENT_SUBSCRIPTION0 subscription = {0};
    FWPM_NET_EVENT_ENUM_TEMPLATE0 template = {.startTime = {0, 0x7fffffff}, .endTime = {0xffffffff, 0x7fffffff}};
    FWPM_NET_EVENT1 **all = NULL;
    struct told told = {CreateEventW(NULL, FALSE, FALSE, NULL), 0, 0};
    HANDLE events = NULL, handle;
    UINT32 count = 99;

    options();
    SUCCEEDS(FwpmFilterAdd0(engine, &block, NULL, &told.filter));
    SUCCEEDS(FwpmNetEventUnsubscribe0(engine, NULL));
    RETURNS(ERROR_INVALID_HANDLE, FwpmNetEventUnsubscribe0(engine, (HANDLE)0x7770));
    SUCCEEDS(FwpmNetEventSubscribe0(engine, &subscription, on_event, &told, &events));
    connect_in_vain();
    CHECK(WaitForSingleObject(told.arrived, 20000) == WAIT_OBJECT_0);
    SUCCEEDS(FwpmNetEventUnsubscribe0(engine, events));
    connect_in_vain();
    /* The callback would come within milliseconds. */
    CHECK(WaitForSingleObject(told.arrived, 300) == WAIT_TIMEOUT);
    CHECK(told.events == 1);

    SUCCEEDS(FwpmNetEventCreateEnumHandle0(engine, NULL, &handle));
    SUCCEEDS(FwpmNetEventEnum1(engine, handle, 1, &all, &count));
    CHECK(count == 1);
    same_drop(all[0], told.filter);
    FwpmFreeMemory0((void **)&all);
    SUCCEEDS(FwpmNetEventEnum1(engine, handle, 10, &all, &count));
    CHECK(count == 1);
    FwpmFreeMemory0((void **)&all);
    SUCCEEDS(FwpmNetEventDestroyEnumHandle0(engine, handle));
    /* None is from the future. */
    SUCCEEDS(FwpmNetEventCreateEnumHandle0(engine, &template, &handle));
    SUCCEEDS(FwpmNetEventEnum1(engine, handle, 10, &all, &count));
    CHECK(count == 0);
    FwpmFreeMemory0((void **)&all);
    SUCCEEDS(FwpmNetEventDestroyEnumHandle0(engine, handle));
    SUCCEEDS(FwpmFilterDeleteByKey0(engine, &FILTER_KEY));
    CloseHandle(told.arrived);
}

int main(void) {
    FWPM_SESSION0 wanted = {.displayData = {NAME, DESCRIPTION}, .flags = FWPM_SESSION_FLAG_DYNAMIC, .txnWaitTimeoutInMSec = 2500};
    FWPM_PROVIDER0 *left = NULL;
    FWP_BYTE_BLOB *app = NULL;
    FWP_VALUE0 on = {FWP_UINT32, .uint32 = 1};
    wchar_t program[MAX_PATH];
    UINT64 id;

    SUCCEEDS(FwpmEngineOpen0(NULL, RPC_C_AUTHN_WINNT, NULL, &wanted, &engine));
    if (failed) return 1;
    GetModuleFileNameW(NULL, program, MAX_PATH);
    SUCCEEDS(FwpmGetAppIdFromFileName0(program, &app));
    CHECK(app->size % 2 == 0 && !wcsncmp((wchar_t *)app->data, L"\\device\\", 8));
    CHECK(app->data[app->size - 1] == 0 && app->data[app->size - 2] == 0);
    RETURNS(ERROR_FILE_NOT_FOUND, FwpmGetAppIdFromFileName0(L"C:\\no such program.exe", &app));

    session();
    layer();
    RETURNS(ERROR_DYNAMIC_SESSION_IN_PROGRESS, FwpmEngineSetOption0(engine, FWPM_ENGINE_COLLECT_NET_EVENTS, &on));

    RETURNS(ERROR_NO_TXN_IN_PROGRESS, FwpmTransactionCommit0(engine));
    SUCCEEDS(FwpmTransactionBegin0(engine, 0));
    provider();
    SUCCEEDS(FwpmTransactionAbort0(engine));
    RETURNS(ERROR_PROVIDER_NOT_FOUND, FwpmProviderGetByKey0(engine, &PROVIDER_KEY, &left));
    SUCCEEDS(FwpmTransactionBegin0(engine, 0));
    provider();
    sublayer();
    callout();
    id = filter_v4(app);
    filter_v6();
    SUCCEEDS(FwpmTransactionCommit0(engine));
    FwpmFreeMemory0((void **)&app);

    RETURNS(ERROR_IN_USE_FWP, FwpmProviderDeleteByKey0(engine, &PROVIDER_KEY));
    RETURNS(ERROR_IN_USE_FWP, FwpmCalloutDeleteByKey0(engine, &CALLOUT_KEY));
    SUCCEEDS(FwpmFilterDeleteById0(engine, id));
    RETURNS(ERROR_FILTER_NOT_FOUND, FwpmFilterDeleteById0(engine, id));
    SUCCEEDS(FwpmFilterDeleteByKey0(engine, &FILTER_KEY_V6));
    SUCCEEDS(FwpmCalloutDeleteByKey0(engine, &CALLOUT_KEY));
    SUCCEEDS(FwpmSubLayerDeleteByKey0(engine, &SUBLAYER_KEY));
    /* What is left is deleted with its session. */
    SUCCEEDS(FwpmEngineClose0(engine));
    RETURNS(ERROR_INVALID_HANDLE, FwpmEngineClose0(engine));
    SUCCEEDS(FwpmEngineOpen0(NULL, RPC_C_AUTHN_DEFAULT, NULL, NULL, &engine));
    RETURNS(ERROR_PROVIDER_NOT_FOUND, FwpmProviderGetByKey0(engine, &PROVIDER_KEY, &left));
    net_events();
    SUCCEEDS(FwpmEngineClose0(engine));

    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
