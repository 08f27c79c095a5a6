/* Pool, lookaside lists, interlocked lists, resources, push locks, run-down protection, work items. */
#include "opinion.h"

#define NX 512 /* NonPagedPoolNx */

static VOID Allocated(const char *call, PUCHAR memory, ULONG size, BOOLEAN zeroed)
{
    BOOLEAN zero = TRUE;
    for (ULONG at = 0; memory && at < size; at++) if (memory[at]) zero = FALSE;
    SAY("%t -> %p, aligned to 16: %b", call, memory, ((ULONG_PTR)memory & 15) == 0);
    if (zeroed) SAY("%t, zeroed -> %b", call, zero);
}

KERNEL(PVOID, p_allocate, "ExAllocatePool", ULONG, SIZE_T);
KERNEL(PVOID, p_allocate2, "ExAllocatePool2", ULONG64, SIZE_T, ULONG);
KERNEL(PVOID, p_allocate3, "ExAllocatePool3", ULONG64, SIZE_T, ULONG, PVOID, ULONG);
KERNEL(PVOID, p_quota, "ExAllocatePoolWithQuotaTag", ULONG, SIZE_T, ULONG);
KERNEL(PVOID, p_tag, "ExAllocatePoolWithTag", ULONG, SIZE_T, ULONG);
KERNEL(PVOID, p_priority, "ExAllocatePoolWithTagPriority", ULONG, SIZE_T, ULONG, ULONG);
KERNEL(VOID, p_free, "ExFreePool", PVOID);
KERNEL(VOID, p_free2, "ExFreePool2", PVOID, ULONG, PVOID, ULONG);
KERNEL(VOID, p_free_tag, "ExFreePoolWithTag", PVOID, ULONG);

TEST(ExAllocatePool) { PVOID memory = p_allocate(NX, 40); Allocated("(40)", memory, 40, FALSE); p_free(memory); }
TEST(ExAllocatePool2)
{
    PVOID memory = p_allocate2(0x40, 40, TAG);
    Allocated("(NON_PAGED, 40)", memory, 40, TRUE);
    p_free_tag(memory, TAG);
    memory = p_allocate2(0x100, 5000, TAG);
    Allocated("(PAGED, 5000)", memory, 5000, TRUE);
    SAY("(PAGED, 5000), at the beginning of a page -> %b", ((ULONG_PTR)memory & 4095) == 0);
    p_free_tag(memory, TAG);
    SAY("(NON_PAGED, 0) -> %p", p_allocate2(0x40, 0, TAG));
}
TEST(ExAllocatePool3) { PVOID memory = p_allocate3(0x40, 40, TAG, NULL, 0); Allocated("(NON_PAGED, 40)", memory, 40, TRUE); p_free_tag(memory, TAG); }
TEST(ExAllocatePoolWithQuotaTag) { PVOID memory = p_quota(NX, 40, TAG); Allocated("(40)", memory, 40, FALSE); p_free_tag(memory, TAG); }
TEST(ExAllocatePoolWithTag) { PVOID memory = p_tag(NX, 40, TAG); Allocated("(40)", memory, 40, FALSE); p_free_tag(memory, TAG); }
TEST(ExAllocatePoolWithTagPriority) { PVOID memory = p_priority(NX, 40, TAG, 16); Allocated("(40)", memory, 40, FALSE); p_free_tag(memory, TAG); }
TEST(ExFreePool) { p_free(p_tag(NX, 40, TAG)); SAY("() -> returns"); }
TEST(ExFreePool2) { p_free2(p_tag(NX, 40, TAG), TAG, NULL, 0); SAY("() -> returns"); }
TEST(ExFreePoolWithTag) { p_free_tag(p_tag(NX, 40, TAG), TAG); SAY("() -> returns"); }

static ULONG Sizes, Frees;
static PVOID NTAPI OwnAllocate(ULONG type, SIZE_T size, ULONG tag) { Sizes += (ULONG)size; return p_tag(type, size, tag); }
static VOID NTAPI OwnFree(PVOID memory) { Frees++; p_free(memory); }
static NPAGED_LOOKASIDE_LIST __attribute__((aligned(128))) NPaged;
static PAGED_LOOKASIDE_LIST __attribute__((aligned(128))) Paged;
KERNEL(VOID, l_np, "ExInitializeNPagedLookasideList", PVOID, PVOID, PVOID, ULONG, SIZE_T, ULONG, USHORT);
KERNEL(VOID, l_p, "ExInitializePagedLookasideList", PVOID, PVOID, PVOID, ULONG, SIZE_T, ULONG, USHORT);
KERNEL(VOID, l_np_delete, "ExDeleteNPagedLookasideList", PVOID);
KERNEL(VOID, l_p_delete, "ExDeletePagedLookasideList", PVOID);
TEST(ExInitializeNPagedLookasideList)
{
    Sizes = Frees = 0;
    l_np(&NPaged, OwnAllocate, OwnFree, 0, 48, TAG, 0);
    SAY("(48) -> size %u, tag: %b, allocates by ours: %b, frees by ours: %b", NPaged.L.Size, NPaged.L.Tag == TAG, (PVOID)NPaged.L.Allocate == (PVOID)OwnAllocate, (PVOID)NPaged.L.Free == (PVOID)OwnFree);
    SAY("(48), depth of the list -> %u", (ULONG)(USHORT)((PULONG64)&NPaged.L.ListHead)[0]);
    l_np_delete(&NPaged);
}
TEST(ExDeleteNPagedLookasideList) { l_np(&NPaged, NULL, NULL, 0, 48, TAG, 0); SAY("(), before: has functions of its own -> %p %p", (PVOID)NPaged.L.Allocate, (PVOID)NPaged.L.Free); l_np_delete(&NPaged); SAY("() -> returns"); }
TEST(ExInitializePagedLookasideList) { l_p(&Paged, NULL, NULL, 0, 48, TAG, 0); SAY("(48) -> size %u, type %u", Paged.L.Size, Paged.L.Type & 1); l_p_delete(&Paged); }
TEST(ExDeletePagedLookasideList) { l_p(&Paged, NULL, NULL, 0, 48, TAG, 0); l_p_delete(&Paged); SAY("() -> returns"); }
static ULONG64 __attribute__((aligned(128))) ListEx[32];
KERNEL(NTSTATUS, lx_init, "ExInitializeLookasideListEx", PVOID, PVOID, PVOID, ULONG, ULONG, SIZE_T, ULONG, USHORT);
KERNEL(VOID, lx_delete, "ExDeleteLookasideListEx", PVOID);
KERNEL(VOID, lx_flush, "ExFlushLookasideListEx", PVOID);
KERNEL(PVOID, lx_allocate, "ExAllocateFromLookasideListEx", PVOID);
KERNEL(VOID, lx_free, "ExFreeToLookasideListEx", PVOID, PVOID);
TEST(ExInitializeLookasideListEx) { SAY("(48) -> %x", lx_init(ListEx, NULL, NULL, NX, 0, 48, TAG, 0)); lx_delete(ListEx); }
TEST(ExDeleteLookasideListEx) { lx_init(ListEx, NULL, NULL, NX, 0, 48, TAG, 0); lx_delete(ListEx); SAY("() -> returns"); }
TEST(ExFlushLookasideListEx) { lx_init(ListEx, NULL, NULL, NX, 0, 48, TAG, 0); lx_flush(ListEx); lx_delete(ListEx); SAY("() -> returns"); }
TEST(ExAllocateFromLookasideListEx) { lx_init(ListEx, NULL, NULL, NX, 0, 48, TAG, 0); PVOID entry = lx_allocate(ListEx); SAY("() -> %p", entry); lx_free(ListEx, entry); lx_delete(ListEx); }
TEST(ExFreeToLookasideListEx) { lx_init(ListEx, NULL, NULL, NX, 0, 48, TAG, 0); lx_free(ListEx, lx_allocate(ListEx)); lx_delete(ListEx); SAY("() -> returns"); }

/* Singly linked lists: each name is tried with the pair it belongs to. */
static SLIST_HEADER __attribute__((aligned(16))) Head;
static SLIST_ENTRY __attribute__((aligned(16))) One, Two, Three;
#define WHICH(entry) ((PVOID)(entry) == &One ? 1 : (PVOID)(entry) == &Two ? 2 : (PVOID)(entry) == &Three ? 3 : (entry) ? -1 : 0)
KERNEL(PSLIST_ENTRY, s_push, "ExpInterlockedPushEntrySList", PSLIST_HEADER, PSLIST_ENTRY);
KERNEL(PSLIST_ENTRY, s_pop, "ExpInterlockedPopEntrySList", PSLIST_HEADER);
KERNEL(PSLIST_ENTRY, s_flush, "ExpInterlockedFlushSList", PSLIST_HEADER);
KERNEL(PSLIST_ENTRY, s_push2, "InterlockedPushEntrySList", PSLIST_HEADER, PSLIST_ENTRY);
KERNEL(PSLIST_ENTRY, s_pop2, "InterlockedPopEntrySList", PSLIST_HEADER);
KERNEL(PSLIST_ENTRY, s_flush2, "ExInterlockedFlushSList", PSLIST_HEADER);
KERNEL(USHORT, s_depth, "ExQueryDepthSList", PSLIST_HEADER);
KERNEL(USHORT, s_depth2, "RtlQueryDepthSList", PSLIST_HEADER);
KERNEL(VOID, s_init, "InitializeSListHead", PSLIST_HEADER);
KERNEL(VOID, s_init2, "RtlInitializeSListHead", PSLIST_HEADER);
KERNEL(PSLIST_ENTRY, s_first, "RtlFirstEntrySList", const SLIST_HEADER *);
#define EMPTY_LIST (((PULONG64)&Head)[0] = 0, ((PULONG64)&Head)[1] = 0)
#define PUSH_POP(name, push, pop) \
    TEST(name) { EMPTY_LIST; PSLIST_ENTRY a = push(&Head, &One), b = push(&Head, &Two); PSLIST_ENTRY c = pop(&Head), d = pop(&Head), e = pop(&Head); \
        SAY("() -> pushed on %d %d, popped %d %d %d", WHICH(a), WHICH(b), WHICH(c), WHICH(d), WHICH(e)); }
PUSH_POP(ExpInterlockedPushEntrySList, s_push, s_pop)
PUSH_POP(ExpInterlockedPopEntrySList, s_push, s_pop)
PUSH_POP(InterlockedPushEntrySList, s_push2, s_pop2)
PUSH_POP(InterlockedPopEntrySList, s_push2, s_pop2)
#define FLUSH(name, flush) \
    TEST(name) { EMPTY_LIST; s_push(&Head, &One); s_push(&Head, &Two); PSLIST_ENTRY all = flush(&Head); PSLIST_ENTRY none = flush(&Head); \
        SAY("() -> %d, next %d, then %d", WHICH(all), WHICH(all ? all->Next : NULL), WHICH(none)); }
FLUSH(ExpInterlockedFlushSList, s_flush)
FLUSH(ExInterlockedFlushSList, s_flush2)
TEST(ExQueryDepthSList) { EMPTY_LIST; USHORT none = s_depth(&Head); s_push(&Head, &One); s_push(&Head, &Two); SAY("(none; two) -> %u %u", none, s_depth(&Head)); }
TEST(RtlQueryDepthSList) { EMPTY_LIST; USHORT none = s_depth2(&Head); s_push(&Head, &One); s_push(&Head, &Two); SAY("(none; two) -> %u %u", none, s_depth2(&Head)); }
TEST(InitializeSListHead) { ((PULONG64)&Head)[0] = 5; s_init(&Head); SAY("() -> %X %X", ((PULONG64)&Head)[0], ((PULONG64)&Head)[1]); }
TEST(RtlInitializeSListHead) { ((PULONG64)&Head)[0] = 5; s_init2(&Head); SAY("() -> %X %X", ((PULONG64)&Head)[0], ((PULONG64)&Head)[1]); }
TEST(RtlFirstEntrySList) { EMPTY_LIST; PSLIST_ENTRY none = s_first(&Head); s_push(&Head, &One); s_push(&Head, &Two); SAY("(none; two) -> %d %d", WHICH(none), WHICH(s_first(&Head))); }

static KSPIN_LOCK ListLock;
static LIST_ENTRY List, L1, L2;
#define ENTRY(entry) ((PVOID)(entry) == &L1 ? 1 : (PVOID)(entry) == &L2 ? 2 : (entry) ? -1 : 0)
KERNEL(PLIST_ENTRY, i_head, "ExInterlockedInsertHeadList", PLIST_ENTRY, PLIST_ENTRY, PKSPIN_LOCK);
KERNEL(PLIST_ENTRY, i_tail, "ExInterlockedInsertTailList", PLIST_ENTRY, PLIST_ENTRY, PKSPIN_LOCK);
KERNEL(PLIST_ENTRY, i_remove, "ExInterlockedRemoveHeadList", PLIST_ENTRY, PKSPIN_LOCK);
KERNEL(PSINGLE_LIST_ENTRY, i_push, "ExInterlockedPushEntryList", PSINGLE_LIST_ENTRY, PSINGLE_LIST_ENTRY, PKSPIN_LOCK);
KERNEL(PSINGLE_LIST_ENTRY, i_pop, "ExInterlockedPopEntryList", PSINGLE_LIST_ENTRY, PKSPIN_LOCK);
TEST(ExInterlockedInsertHeadList) { InitializeListHead(&List); PLIST_ENTRY a = i_head(&List, &L1, &ListLock), b = i_head(&List, &L2, &ListLock); SAY("() twice -> %d %d; first %d, last %d", ENTRY(a), ENTRY(b), ENTRY(List.Flink), ENTRY(List.Blink)); }
TEST(ExInterlockedInsertTailList) { InitializeListHead(&List); PLIST_ENTRY a = i_tail(&List, &L1, &ListLock), b = i_tail(&List, &L2, &ListLock); SAY("() twice -> %d %d; first %d, last %d", ENTRY(a), ENTRY(b), ENTRY(List.Flink), ENTRY(List.Blink)); }
TEST(ExInterlockedRemoveHeadList) { InitializeListHead(&List); InsertTailList(&List, &L1); PLIST_ENTRY a = i_remove(&List, &ListLock), b = i_remove(&List, &ListLock); SAY("() of one -> %d, then %d", ENTRY(a), ENTRY(b)); }
TEST(ExInterlockedPushEntryList) { SINGLE_LIST_ENTRY head = {NULL}, a, b; BOOLEAN first = i_push(&head, &a, &ListLock) == NULL, second = i_push(&head, &b, &ListLock) == &a; SAY("() twice -> the former first: %b %b; next: %b", first, second, b.Next == &a); }
TEST(ExInterlockedPopEntryList) { SINGLE_LIST_ENTRY a = {NULL}, head = {&a}; BOOLEAN first = i_pop(&head, &ListLock) == &a; SAY("() of one -> it: %b, then %p", first, i_pop(&head, &ListLock)); }
KERNEL(LARGE_INTEGER, i_add_large, "ExInterlockedAddLargeInteger", PLARGE_INTEGER, LARGE_INTEGER, PKSPIN_LOCK);
KERNEL(ULONG, i_add, "ExInterlockedAddUlong", PULONG, ULONG, PKSPIN_LOCK);
TEST(ExInterlockedAddLargeInteger) { LARGE_INTEGER value = {.QuadPart = 5}, more = {.QuadPart = -7}, old = i_add_large(&value, more, &ListLock); SAY("(5, -7) -> %X, now %X", old.QuadPart, value.QuadPart); }
TEST(ExInterlockedAddUlong) { ULONG value = 5, old = i_add(&value, 7, &ListLock); SAY("(5, 7) -> %u, now %u", old, value); }

/* Resources. */
static ERESOURCE Resource;
KERNEL(NTSTATUS, r_init, "ExInitializeResourceLite", PERESOURCE);
KERNEL(NTSTATUS, r_delete, "ExDeleteResourceLite", PERESOURCE);
KERNEL(NTSTATUS, r_reinit, "ExReinitializeResourceLite", PERESOURCE);
KERNEL(BOOLEAN, r_exclusive, "ExAcquireResourceExclusiveLite", PERESOURCE, BOOLEAN);
KERNEL(BOOLEAN, r_shared, "ExAcquireResourceSharedLite", PERESOURCE, BOOLEAN);
KERNEL(BOOLEAN, r_starve, "ExAcquireSharedStarveExclusive", PERESOURCE, BOOLEAN);
KERNEL(BOOLEAN, r_wait, "ExAcquireSharedWaitForExclusive", PERESOURCE, BOOLEAN);
KERNEL(VOID, r_release, "ExReleaseResourceLite", PERESOURCE);
KERNEL(VOID, r_release_for, "ExReleaseResourceForThreadLite", PERESOURCE, ULONG_PTR);
KERNEL(VOID, r_convert, "ExConvertExclusiveToSharedLite", PERESOURCE);
KERNEL(BOOLEAN, r_is_exclusive, "ExIsResourceAcquiredExclusiveLite", PERESOURCE);
KERNEL(ULONG, r_is_shared, "ExIsResourceAcquiredSharedLite", PERESOURCE);
KERNEL(PVOID, r_enter_exclusive, "ExEnterCriticalRegionAndAcquireResourceExclusive", PERESOURCE);
KERNEL(PVOID, r_enter_shared, "ExEnterCriticalRegionAndAcquireResourceShared", PERESOURCE);
KERNEL(VOID, r_leave, "ExReleaseResourceAndLeaveCriticalRegion", PERESOURCE);
#define RESOURCE(body) do { r_init(&Resource); KeEnterCriticalRegion(); body; KeLeaveCriticalRegion(); r_delete(&Resource); } while (0)
TEST(ExInitializeResourceLite) { SAY("() -> %x", r_init(&Resource)); r_delete(&Resource); }
TEST(ExDeleteResourceLite) { r_init(&Resource); SAY("() -> %x", r_delete(&Resource)); }
TEST(ExReinitializeResourceLite) { r_init(&Resource); SAY("() -> %x", r_reinit(&Resource)); r_delete(&Resource); }
TEST(ExAcquireResourceExclusiveLite) { RESOURCE(BOOLEAN a = r_exclusive(&Resource, TRUE); BOOLEAN b = r_exclusive(&Resource, FALSE); SAY("(TRUE), again (FALSE) -> %b %b", a, b); r_release(&Resource); r_release(&Resource)); }
TEST(ExAcquireResourceSharedLite)
{
    RESOURCE(BOOLEAN a = r_shared(&Resource, TRUE); BOOLEAN b = r_shared(&Resource, FALSE); BOOLEAN c = r_exclusive(&Resource, FALSE); SAY("(TRUE), again (FALSE), then exclusive -> %b %b %b", a, b, c); r_release(&Resource); r_release(&Resource));
    RESOURCE(r_exclusive(&Resource, TRUE); BOOLEAN a = r_shared(&Resource, FALSE); SAY("(FALSE) by the exclusive owner -> %b", a); r_release(&Resource); r_release(&Resource));
}
TEST(ExAcquireSharedStarveExclusive) { RESOURCE(BOOLEAN a = r_starve(&Resource, FALSE); SAY("(FALSE) -> %b", a); r_release(&Resource)); }
TEST(ExAcquireSharedWaitForExclusive) { RESOURCE(BOOLEAN a = r_wait(&Resource, FALSE); SAY("(FALSE) -> %b", a); r_release(&Resource)); }
TEST(ExReleaseResourceLite) { RESOURCE(r_exclusive(&Resource, TRUE); r_release(&Resource); SAY("() -> still owned: %b", r_is_exclusive(&Resource))); }
TEST(ExReleaseResourceForThreadLite) { RESOURCE(r_exclusive(&Resource, TRUE); r_release_for(&Resource, (ULONG_PTR)k_thread()); SAY("() -> still owned: %b", r_is_exclusive(&Resource))); }
TEST(ExConvertExclusiveToSharedLite) { RESOURCE(r_exclusive(&Resource, TRUE); r_convert(&Resource); SAY("() -> exclusive: %b, shared: %u", r_is_exclusive(&Resource), r_is_shared(&Resource)); r_release(&Resource)); }
TEST(ExIsResourceAcquiredExclusiveLite) { RESOURCE(BOOLEAN a = r_is_exclusive(&Resource); r_shared(&Resource, TRUE); BOOLEAN b = r_is_exclusive(&Resource); r_release(&Resource); r_exclusive(&Resource, TRUE); BOOLEAN c = r_is_exclusive(&Resource); r_release(&Resource); SAY("(free; shared; exclusive) -> %b %b %b", a, b, c)); }
TEST(ExIsResourceAcquiredSharedLite) { RESOURCE(ULONG a = r_is_shared(&Resource); r_shared(&Resource, TRUE); r_shared(&Resource, TRUE); ULONG b = r_is_shared(&Resource); r_release(&Resource); r_release(&Resource); r_exclusive(&Resource, TRUE); ULONG c = r_is_shared(&Resource); r_release(&Resource); SAY("(free; shared twice; exclusive) -> %u %u %u", a, b, c)); }
TEST(ExEnterCriticalRegionAndAcquireResourceExclusive) { r_init(&Resource); r_enter_exclusive(&Resource); BOOLEAN owned = r_is_exclusive(&Resource); r_leave(&Resource); r_delete(&Resource); SAY("() -> owned: %b", owned); }
TEST(ExEnterCriticalRegionAndAcquireResourceShared) { r_init(&Resource); r_enter_shared(&Resource); ULONG owned = r_is_shared(&Resource); r_leave(&Resource); r_delete(&Resource); SAY("() -> owned: %u", owned); }
TEST(ExReleaseResourceAndLeaveCriticalRegion) { r_init(&Resource); r_enter_exclusive(&Resource); r_leave(&Resource); SAY("() -> owned: %b", r_is_exclusive(&Resource)); r_delete(&Resource); }

static ULONG64 Push;
KERNEL(VOID, pl_init, "ExInitializePushLock", PVOID);
KERNEL(VOID, pl_exclusive, "ExAcquirePushLockExclusiveEx", PVOID, ULONG);
KERNEL(VOID, pl_release_exclusive, "ExReleasePushLockExclusiveEx", PVOID, ULONG);
KERNEL(VOID, pl_shared, "ExAcquirePushLockSharedEx", PVOID, ULONG);
KERNEL(VOID, pl_release_shared, "ExReleasePushLockSharedEx", PVOID, ULONG);
#define IN_REGION(body) do { KeEnterCriticalRegion(); body; KeLeaveCriticalRegion(); } while (0)
TEST(ExInitializePushLock) { Push = 5; pl_init(&Push); SAY("() -> %X", Push); }
TEST(ExAcquirePushLockExclusiveEx) { Push = 0; IN_REGION(pl_exclusive(&Push, 0); pl_release_exclusive(&Push, 0)); SAY("() -> free afterwards: %b", Push == 0); }
TEST(ExReleasePushLockExclusiveEx) { Push = 0; IN_REGION(pl_exclusive(&Push, 0); pl_release_exclusive(&Push, 0)); SAY("() -> free: %b", Push == 0); }
TEST(ExAcquirePushLockSharedEx) { Push = 0; IN_REGION(pl_shared(&Push, 0); pl_shared(&Push, 0); pl_release_shared(&Push, 0); pl_release_shared(&Push, 0)); SAY("() twice -> free afterwards: %b", Push == 0); }
TEST(ExReleasePushLockSharedEx) { Push = 0; IN_REGION(pl_shared(&Push, 0); pl_release_shared(&Push, 0)); SAY("() -> free: %b", Push == 0); }

/* Run-down protection. */
static ULONG64 Rundown;
KERNEL(VOID, rd_init, "ExInitializeRundownProtection", PULONG64);
KERNEL(VOID, rd_reinit, "ExReInitializeRundownProtection", PULONG64);
KERNEL(BOOLEAN, rd_acquire, "ExAcquireRundownProtection", PULONG64);
KERNEL(BOOLEAN, rd_acquire_ex, "ExAcquireRundownProtectionEx", PULONG64, ULONG);
KERNEL(VOID, rd_release, "ExReleaseRundownProtection", PULONG64);
KERNEL(VOID, rd_release_ex, "ExReleaseRundownProtectionEx", PULONG64, ULONG);
KERNEL(VOID, rd_wait, "ExWaitForRundownProtectionRelease", PULONG64);
KERNEL(VOID, rd_completed, "ExRundownCompleted", PULONG64);
TEST(ExInitializeRundownProtection) { Rundown = 9; rd_init(&Rundown); SAY("() -> %X", Rundown); }
TEST(ExAcquireRundownProtection) { rd_init(&Rundown); BOOLEAN a = rd_acquire(&Rundown); ULONG64 held = Rundown; rd_release(&Rundown); rd_wait(&Rundown); SAY("(before; after the run-down) -> %b (%X), %b", a, held, rd_acquire(&Rundown)); }
TEST(ExAcquireRundownProtectionEx) { rd_init(&Rundown); BOOLEAN a = rd_acquire_ex(&Rundown, 3); SAY("(3) -> %b, %X", a, Rundown); rd_release_ex(&Rundown, 3); }
TEST(ExReleaseRundownProtection) { rd_init(&Rundown); rd_acquire(&Rundown); rd_release(&Rundown); SAY("() -> %X", Rundown); }
TEST(ExReleaseRundownProtectionEx) { rd_init(&Rundown); rd_acquire_ex(&Rundown, 3); rd_release_ex(&Rundown, 2); SAY("(2) of 3 -> %X", Rundown); rd_release_ex(&Rundown, 1); }
TEST(ExWaitForRundownProtectionRelease) { rd_init(&Rundown); rd_wait(&Rundown); SAY("() -> %X", Rundown); }
TEST(ExRundownCompleted) { rd_init(&Rundown); rd_wait(&Rundown); rd_completed(&Rundown); SAY("() -> %X, can be acquired: %b", Rundown, rd_acquire(&Rundown)); }
TEST(ExReInitializeRundownProtection) { rd_init(&Rundown); rd_wait(&Rundown); rd_reinit(&Rundown); BOOLEAN a = rd_acquire(&Rundown); rd_release(&Rundown); SAY("() after a run-down -> can be acquired: %b", a); }
KERNEL(PVOID, rc_allocate, "ExAllocateCacheAwareRundownProtection", ULONG, ULONG);
KERNEL(VOID, rc_free, "ExFreeCacheAwareRundownProtection", PVOID);
KERNEL(BOOLEAN, rc_acquire, "ExAcquireRundownProtectionCacheAware", PVOID);
KERNEL(BOOLEAN, rc_acquire_ex, "ExAcquireRundownProtectionCacheAwareEx", PVOID, ULONG);
KERNEL(VOID, rc_release, "ExReleaseRundownProtectionCacheAware", PVOID);
KERNEL(VOID, rc_release_ex, "ExReleaseRundownProtectionCacheAwareEx", PVOID, ULONG);
KERNEL(VOID, rc_wait, "ExWaitForRundownProtectionReleaseCacheAware", PVOID);
KERNEL(VOID, rc_completed, "ExRundownCompletedCacheAware", PVOID);
KERNEL(VOID, rc_reinit, "ExReInitializeRundownProtectionCacheAware", PVOID);
#define AWARE(name, body) TEST(name) { PVOID aware = rc_allocate(NX, TAG); BOOLEAN a; body; SAY("() -> %b", a); rc_free(aware); }
AWARE(ExAllocateCacheAwareRundownProtection, a = aware != NULL)
AWARE(ExFreeCacheAwareRundownProtection, a = aware != NULL)
AWARE(ExAcquireRundownProtectionCacheAware, a = rc_acquire(aware); rc_release(aware))
AWARE(ExAcquireRundownProtectionCacheAwareEx, a = rc_acquire_ex(aware, 2); rc_release_ex(aware, 2))
AWARE(ExReleaseRundownProtectionCacheAware, rc_acquire(aware); rc_release(aware); a = rc_acquire(aware); rc_release(aware))
AWARE(ExReleaseRundownProtectionCacheAwareEx, rc_acquire_ex(aware, 2); rc_release_ex(aware, 2); a = rc_acquire(aware); rc_release(aware))
AWARE(ExWaitForRundownProtectionReleaseCacheAware, rc_wait(aware); a = rc_acquire(aware))
AWARE(ExRundownCompletedCacheAware, rc_wait(aware); rc_completed(aware); a = rc_acquire(aware))
AWARE(ExReInitializeRundownProtectionCacheAware, rc_wait(aware); rc_completed(aware); rc_reinit(aware); a = rc_acquire(aware); rc_release(aware))

/* Work items. */
static KEVENT Worked;
static PVOID WorkArgument, WorkDevice;
static VOID NTAPI Work(PDEVICE_OBJECT device, PVOID context) { WorkDevice = device, WorkArgument = context; KeSetEvent(&Worked, 0, FALSE); }
static VOID NTAPI WorkEx(PVOID device, PVOID context, PIO_WORKITEM item) { Work(device, context); }
static VOID NTAPI OldWork(PVOID context) { Work(NULL, context); }
static VOID SayWorked(const char *call)
{
    NTSTATUS status = KeWaitForSingleObject(&Worked, Executive, KernelMode, FALSE, &Patience);
    SAY("%t -> %x, the device: %b, context %d", call, status, WorkDevice == Device, (LONG)(ULONG_PTR)WorkArgument);
}
KERNEL(PIO_WORKITEM, w_allocate, "IoAllocateWorkItem", PDEVICE_OBJECT);
KERNEL(VOID, w_free, "IoFreeWorkItem", PIO_WORKITEM);
KERNEL(VOID, w_queue, "IoQueueWorkItem", PIO_WORKITEM, PVOID, ULONG, PVOID);
KERNEL(VOID, w_queue_ex, "IoQueueWorkItemEx", PIO_WORKITEM, PVOID, ULONG, PVOID);
KERNEL(ULONG, w_size, "IoSizeofWorkItem", void);
KERNEL(VOID, w_init, "IoInitializeWorkItem", PVOID, PIO_WORKITEM);
KERNEL(VOID, w_uninit, "IoUninitializeWorkItem", PIO_WORKITEM);
KERNEL(VOID, w_old, "ExQueueWorkItem", PVOID, ULONG);
TEST(IoAllocateWorkItem) { PIO_WORKITEM item = w_allocate(Device); SAY("(a device) -> %p", item); w_free(item); }
TEST(IoFreeWorkItem) { w_free(w_allocate(Device)); SAY("() -> returns"); }
TEST(IoQueueWorkItem) { KeInitializeEvent(&Worked, SynchronizationEvent, FALSE); PIO_WORKITEM item = w_allocate(Device); w_queue(item, Work, 1, (PVOID)5); SayWorked("(5)"); KeDelayExecutionThread(KernelMode, FALSE, &Moment); w_free(item); }
TEST(IoQueueWorkItemEx) { KeInitializeEvent(&Worked, SynchronizationEvent, FALSE); PIO_WORKITEM item = w_allocate(Device); w_queue_ex(item, WorkEx, 1, (PVOID)6); SayWorked("(6)"); KeDelayExecutionThread(KernelMode, FALSE, &Moment); w_free(item); }
static ULONG64 ItemSpace[64];
TEST(IoSizeofWorkItem) { ULONG size = w_size(); SAY("() -> more than nothing: %b, no more than 512: %b", size > 0, size <= 512); }
TEST(IoInitializeWorkItem) { KeInitializeEvent(&Worked, SynchronizationEvent, FALSE); w_init(Device, (PIO_WORKITEM)ItemSpace); w_queue((PIO_WORKITEM)ItemSpace, Work, 1, (PVOID)7); SayWorked("(), queued"); KeDelayExecutionThread(KernelMode, FALSE, &Moment); w_uninit((PIO_WORKITEM)ItemSpace); }
TEST(IoUninitializeWorkItem) { w_init(Device, (PIO_WORKITEM)ItemSpace); w_uninit((PIO_WORKITEM)ItemSpace); SAY("() -> returns"); }
TEST(ExQueueWorkItem) { static WORK_QUEUE_ITEM item; KeInitializeEvent(&Worked, SynchronizationEvent, FALSE); item.WorkerRoutine = OldWork; item.Parameter = (PVOID)8; item.List.Flink = NULL; WorkDevice = Device; w_old(&item, 1); NTSTATUS status = KeWaitForSingleObject(&Worked, Executive, KernelMode, FALSE, &Patience); SAY("(8) -> %x, context %d", status, (LONG)(ULONG_PTR)WorkArgument); KeDelayExecutionThread(KernelMode, FALSE, &Moment); }
