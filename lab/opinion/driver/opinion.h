/* What every file of the driver shares: how a function of the kernel is tried, and how its answers are told. */
#ifndef OPINION_H
#define OPINION_H

/* Functions that the headers define themselves get other names, so that these stand for the kernel's. */
#define ExAllocateFromLookasideListEx inline_ExAllocateFromLookasideListEx
#define ExFreeToLookasideListEx inline_ExFreeToLookasideListEx
#define KeGetCurrentIrql inline_KeGetCurrentIrql
#define KeGetCurrentProcessorNumber inline_KeGetCurrentProcessorNumber
#define KeGetCurrentThread inline_KeGetCurrentThread
#define PsGetCurrentThread inline_PsGetCurrentThread
#define KeInitializeSpinLock inline_KeInitializeSpinLock
#define KeLowerIrql inline_KeLowerIrql
#define KeRaiseIrql inline_KeRaiseIrql
#define KeRaiseIrqlToDpcLevel inline_KeRaiseIrqlToDpcLevel
#define KfRaiseIrql inline_KfRaiseIrql
#define RtlSecureZeroMemory inline_RtlSecureZeroMemory
#include <ntifs.h>
#include <ntddk.h>
#include <ntimage.h>
#undef ExAllocateFromLookasideListEx
#undef ExFreeToLookasideListEx
#undef KeGetCurrentIrql
#undef KeGetCurrentProcessorNumber
#undef KeGetCurrentThread
#undef PsGetCurrentThread
#undef KeInitializeSpinLock
#undef KeLowerIrql
#undef KeRaiseIrql
#undef KeRaiseIrqlToDpcLevel
#undef KfRaiseIrql
#undef RtlSecureZeroMemory

struct test {
    const char *name;
    VOID (*body)(VOID);
};

/* Begins the body that tries the function `name`. Each line that it says with SAY begins with that name. */
#define TEST(name) \
    static VOID try_##name(VOID); \
    __attribute__((section(".tests$m"), used)) static const struct test test_##name = {#name, try_##name}; \
    static VOID try_##name(VOID)

/* Says one call and what came of it: `(arguments) -> result`. Conversions: %d, %u, %x (32 bits), %X (64 bits), %b (a BOOLEAN),
   %p (whether a pointer is null), %s, %S (strings), %t (text as it is), %w (a PUNICODE_STRING), %z (a PANSI_STRING), %h (length, bytes). */
VOID SAY(const char *format, ...);

/* A function, or a variable, under a name that the headers take for a macro or an inline function, or do not have. */
#define KERNEL(type, alias, name, ...) extern __declspec(dllimport) type NTAPI alias(__VA_ARGS__) __asm__(name)
#define KERNEL_DATA(type, name) extern __declspec(dllimport) type name

KERNEL(PKTHREAD, k_thread, "KeGetCurrentThread", void);
KERNEL(KIRQL, k_raise_dpc, "KeRaiseIrqlToDpcLevel", void);
KERNEL(KIRQL, k_irql, "KeGetCurrentIrql", void);
KERNEL(KIRQL, k_kf_raise, "KfRaiseIrql", KIRQL);
KERNEL(VOID, k_lower, "KeLowerIrql", KIRQL);
KERNEL(VOID, k_kf_lower, "KfLowerIrql", KIRQL);
KERNEL(VOID, k_raise, "KeRaiseIrql", KIRQL, PKIRQL);

extern IMAGE_DOS_HEADER __ImageBase;

/* What is called where the kernel has no such function; a test of a variable asks for it. */
VOID Lacking(VOID);
#define VARIABLE(name) do { PVOID volatile at = (PVOID)&name; if (at == (PVOID)Lacking) Lacking(); } while (0)

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define TAG 'nipO'

extern PDRIVER_OBJECT Driver;
extern PUNICODE_STRING ServiceKey;
/* A device of the driver, \Device\Opinion, and what its dispatch routine is to answer. */
extern PDEVICE_OBJECT Device;

/* Times for waits: none, a moment, and as long as something may take that will happen. */
extern LARGE_INTEGER Now, Moment, Patience;

#endif
