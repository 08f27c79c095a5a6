/* Tries functions of the kernel one after another, and says what each of them answers. The lab and Wine run the same image. */
#include "opinion.h"

/* One unit: mingw's headers define functions that are not static. */
#include "text.c"
#include "numbers.c"
#include "library.c"
#include "format.c"
#include "dispatcher.c"
#include "executive.c"
#include "objects.c"
#include "registry.c"
#include "io.c"
#include "system.c"
#include "register.c"

PDRIVER_OBJECT Driver;
PUNICODE_STRING ServiceKey;
PDEVICE_OBJECT Device;
LARGE_INTEGER Now = {.QuadPart = 0}, Moment = {.QuadPart = -100000}, Patience = {.QuadPart = -50000000};

__attribute__((section(".tests$a"), used)) static const struct test First = {NULL, NULL};
__attribute__((section(".tests$z"), used)) static const struct test Last = {NULL, NULL};

static const struct test *volatile Current;
static struct {
    char text[480];
    ULONG length;
} Line;

static VOID Put(char unit)
{
    if (Line.length < sizeof(Line.text) - 1) Line.text[Line.length++] = unit;
    Line.text[Line.length] = 0;
}

static VOID PutText(const char *text)
{
    while (*text) Put(*text++);
}

static VOID PutNumber(ULONG64 value, ULONG base)
{
    char digits[24];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (count) Put(digits[--count]);
}

static VOID PutUnit(ULONG unit)
{
    if (unit == '"' || unit == '\\') Put('\\');
    if (unit >= ' ' && unit < 0x7f) {
        Put((char)unit);
    } else {
        PutText("\\x");
        PutNumber(unit, 16);
        Put('.');
    }
}

static VOID PutWide(const WCHAR *text, ULONG count)
{
    Put('"');
    for (ULONG at = 0; at < count; at++) PutUnit(text[at]);
    Put('"');
}

static VOID PutNarrow(const char *text, ULONG count)
{
    Put('"');
    for (ULONG at = 0; at < count; at++) PutUnit((UCHAR)text[at]);
    Put('"');
}

static VOID Convert(char conversion, __builtin_va_list *arguments)
{
    switch (conversion) {
    case 'd': {
        LONG value = __builtin_va_arg(*arguments, LONG);
        if (value < 0) Put('-');
        PutNumber(value < 0 ? 0 - (ULONG64)(LONG64)value : (ULONG64)value, 10);
        break;
    }
    case 'u': PutNumber(__builtin_va_arg(*arguments, ULONG), 10); break;
    case 'x': PutText("0x"); PutNumber(__builtin_va_arg(*arguments, ULONG), 16); break;
    case 'X': PutText("0x"); PutNumber(__builtin_va_arg(*arguments, ULONG64), 16); break;
    case 'b': PutText((__builtin_va_arg(*arguments, ULONG) & 0xff) ? "TRUE" : "FALSE"); break;
    case 'p': PutText(__builtin_va_arg(*arguments, PVOID) ? "a pointer" : "NULL"); break;
    case 's': {
        const char *text = __builtin_va_arg(*arguments, const char *);
        ULONG length = 0;
        while (text && text[length]) length++;
        if (text) PutNarrow(text, length); else PutText("NULL");
        break;
    }
    case 't': PutText(__builtin_va_arg(*arguments, const char *)); break;
    case 'S': {
        const WCHAR *text = __builtin_va_arg(*arguments, const WCHAR *);
        ULONG length = 0;
        while (text && text[length]) length++;
        if (text) PutWide(text, length); else PutText("NULL");
        break;
    }
    case 'w': {
        PUNICODE_STRING text = __builtin_va_arg(*arguments, PUNICODE_STRING);
        PutWide(text->Buffer, text->Buffer ? text->Length / 2 : 0);
        Put('/');
        PutNumber(text->MaximumLength, 10);
        break;
    }
    case 'z': {
        PANSI_STRING text = __builtin_va_arg(*arguments, PANSI_STRING);
        PutNarrow(text->Buffer, text->Buffer ? text->Length : 0);
        Put('/');
        PutNumber(text->MaximumLength, 10);
        break;
    }
    case 'h': {
        ULONG length = __builtin_va_arg(*arguments, ULONG);
        const UCHAR *bytes = __builtin_va_arg(*arguments, const UCHAR *);
        for (ULONG at = 0; at < length; at++) {
            Put("0123456789abcdef"[bytes[at] >> 4]);
            Put("0123456789abcdef"[bytes[at] & 15]);
        }
        break;
    }
    default: Put(conversion);
    }
}

VOID SAY(const char *format, ...)
{
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    Line.length = 0;
    if (Current) PutText(Current->name);
    for (; *format; format++) {
        if (*format == '%') Convert(*++format, &arguments); else Put(*format);
    }
    __builtin_va_end(arguments);
    DbgPrint("opinion: %s\n", Line.text);
}

/* What the kernel does not have is called here instead: Wine's own stand-ins raise an exception too, but cannot be unwound. */
#define LACKING 0x80000100
KERNEL(VOID, RtlRaiseException, "RtlRaiseException", PEXCEPTION_RECORD);
VOID Lacking(VOID)
{
    EXCEPTION_RECORD record = {.ExceptionCode = LACKING};
    RtlRaiseException(&record);
}

static PVOID Find(const char *name)
{
    WCHAR text[64];
    UNICODE_STRING string = {0, sizeof(text), text};
    for (; name[string.Length / 2]; string.Length += 2) text[string.Length / 2] = name[string.Length / 2];
    return MmGetSystemRoutineAddress(&string);
}

/* Whether code is a stand-in of Wine's: sub rsp, 40; lea rcx, [module]; lea rdx, [the function's name]; call; nop. */
static BOOLEAN IsStandIn(const UCHAR *code, const char *name)
{
    if (code[0] != 0x48 || code[1] != 0x83 || code[2] != 0xec || code[3] != 0x28 || code[4] != 0x48 || code[5] != 0x8d ||
        code[6] != 0x0d || code[11] != 0x48 || code[12] != 0x8d || code[13] != 0x15 || code[18] != 0xe8 || code[23] != 0x90) return FALSE;
    const char *named = (const char *)code + 18 + *(const LONG UNALIGNED *)(code + 14);
    while (*name && *name == *named) name++, named++;
    return *name == *named;
}

/* The table of imports is in memory that can be written. */
__asm__(".section .drectve,\"yn\"\n.ascii \" /merge:.rdata=.data\"\n.text");

static VOID ReplaceLacking(VOID)
{
    PUCHAR base = (PUCHAR)&__ImageBase;
    PIMAGE_NT_HEADERS headers = (PIMAGE_NT_HEADERS)(base + __ImageBase.e_lfanew);
    PIMAGE_DATA_DIRECTORY directory = &headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    for (PIMAGE_IMPORT_DESCRIPTOR module = (PVOID)(base + directory->VirtualAddress); module->Name; module++) {
        PULONG64 name = (PVOID)(base + module->OriginalFirstThunk), slot = (PVOID)(base + module->FirstThunk);
        for (; *name; name++, slot++) {
            const char *text = (const char *)base + *name + 2;
            if (!Find(text) || IsStandIn((const UCHAR *)*slot, text)) *slot = (ULONG64)Lacking;
        }
    }
}

static LONG Raised(PEXCEPTION_POINTERS pointers)
{
    PEXCEPTION_RECORD record = pointers->ExceptionRecord;
    if ((ULONG)record->ExceptionCode == LACKING) SAY(" lacks it"); else SAY(" raised %x", record->ExceptionCode);
    return EXCEPTION_EXECUTE_HANDLER;
}

static NTSTATUS NTAPI Dispatch(PDEVICE_OBJECT device, PIRP irp)
{
    irp->IoStatus.Status = STATUS_SUCCESS;
    irp->IoStatus.Information = 0;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    IoDeleteDevice(Device);
}

static VOID Try(VOID)
{
    __try {
        Current->body();
    } __except (Raised(GetExceptionInformation())) {
    }
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Opinion");
    NTSTATUS status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
    if (!NT_SUCCESS(status)) return status;
    Driver = driver;
    ServiceKey = path;
    driver->DriverUnload = Unload;
    for (ULONG major = 0; major <= IRP_MJ_MAXIMUM_FUNCTION; major++) driver->MajorFunction[major] = Dispatch;
    ReplaceLacking();
    for (Current = &First + 1; Current < &Last; Current++) {
        if (Current->body) Try();
    }
    Current = NULL;
    SAY("all said");
    return STATUS_SUCCESS;
}
