// Multiboot 1 entry (Multiboot Specification 0.6.96, 3.2): 32-bit protected mode without paging, EAX the magic number,
// EBX the information structure. Maps the first 512 MiB one to one in 4 KiB pages, turns SSE and x87 on and calls
// bare_main with the command line.
#define TABLES 0x1000000
#define PAGES (512 * 256)
#define PRESENT_WRITABLE 3

.section .multiboot, "a"
.align 4
.long 0x1badb002, 0, -0x1badb002

.text
.code32
.globl _start
_start:
    cli
    cld
    mov $stack_top, %esp
    mov 16(%ebx), %ebp
    testl $4, (%ebx)
    jnz 1f
    mov $nothing, %ebp
1:
#ifdef __x86_64__
    // Page tables from TABLES + 256 KiB on; before them one PML4, one page directory pointer table, one directory.
    mov $TABLES, %edi
    xor %eax, %eax
    mov $0x3000 / 4, %ecx
    rep stosl
    movl $TABLES + 0x1000 + PRESENT_WRITABLE, TABLES
    movl $TABLES + 0x2000 + PRESENT_WRITABLE, TABLES + 0x1000
    mov $TABLES + 0x2000, %edi
    mov $TABLES + 0x40000 + PRESENT_WRITABLE, %eax
    mov $PAGES / 512, %ecx
1:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $4096, %eax
    add $8, %edi
    loop 1b
    mov $TABLES + 0x40000, %edi
    mov $PRESENT_WRITABLE, %eax
    mov $PAGES, %ecx
1:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $4096, %eax
    add $8, %edi
    loop 1b
    mov $0x620, %eax                    // PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $TABLES, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx               // IA32_EFER.LME
    rdmsr
    or $0x100, %eax
    wrmsr
    mov $0x80000033, %eax               // PG, NE, ET, MP, PE
    mov %eax, %cr0
    lgdt descriptor
    ljmp $8, $1f
.code64
1:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    fninit
    mov %ebp, %edi
    call bare_main
1:  hlt
    jmp 1b
#else
    mov $TABLES, %edi
    mov $TABLES + 0x1000 + PRESENT_WRITABLE, %eax
    mov $PAGES / 1024, %ecx
1:  stosl
    add $4096, %eax
    loop 1b
    mov $1024 - PAGES / 1024, %ecx
    xor %eax, %eax
    rep stosl
    mov $PRESENT_WRITABLE, %eax
    mov $PAGES, %ecx
1:  stosl
    add $4096, %eax
    loop 1b
    mov $0x600, %eax                    // OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $TABLES, %eax
    mov %eax, %cr3
    mov $0x80000033, %eax               // PG, NE, ET, MP, PE
    mov %eax, %cr0
    lgdt descriptor
    ljmp $8, $1f
1:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    fninit
    sub $12, %esp
    push %ebp
    call bare_main
1:  hlt
    jmp 1b
#endif

.data
.align 8
table:
    .quad 0
#ifdef __x86_64__
    .quad 0x00af9a000000ffff
#else
    .quad 0x00cf9a000000ffff
#endif
    .quad 0x00cf92000000ffff
descriptor:
    .word 23
    .long table
    .long 0
nothing:
    .byte 0

.bss
.align 16
    .skip 256 * 1024
stack_top:
