/** How the kernel and qemu know an architecture. Numbers are those of elf(5) and the processors' ELF supplements. */
export interface Architecture {
  /** qemu's name: `qemu-aarch64-static`. */
  readonly qemu: string
  /** Architecture of OCI platforms: all variants of it are run by one emulator. */
  readonly oci: string
  readonly bits: 32 | 64
  readonly bigEndian?: true
  /** `e_machine`. */
  readonly machine: number
  /** `e_flags` of its programs. */
  readonly flags?: number
  /**
   * Machine code, in hex, of a program that ends with the first byte of the name it was called by as its exit code:
   * loads argv[0] from the stack, that byte of it, and calls exit.
   */
  readonly code: string
}

export const architectures: readonly Architecture[] = [
  // mov rdi,[rsp+8]; movzx edi,byte [rdi]; mov eax,60; syscall
  { qemu: 'x86_64', oci: 'amd64', bits: 64, machine: 62, code: '488b7c24080fb63fb83c0000000f05' },
  // ldr x0,[sp,#8]; ldrb w0,[x0]; mov x8,#93; svc #0
  { qemu: 'aarch64', oci: 'arm64', bits: 64, machine: 183, code: 'e00740f900004039a80b80d2010000d4' },
  // ldr r0,[sp,#4]; ldrb r0,[r0]; mov r7,#1; svc #0 (EABI version 5; arm/v7, v6 and v5 share the emulator)
  {
    ...{ qemu: 'arm', oci: 'arm', bits: 32, machine: 40, flags: 0x05000000 },
    code: '04009de50000d0e50170a0e3000000ef',
  },
  // ld a0,8(sp); lbu a0,0(a0); li a7,93; ecall
  { qemu: 'riscv64', oci: 'riscv64', bits: 64, machine: 243, code: '03358100034505009308d00573000000' },
  // ld r3,8(r1); lbz r3,0(r3); li r0,1; sc (ELFv2)
  { qemu: 'ppc64le', oci: 'ppc64le', bits: 64, machine: 21, flags: 2, code: '080061e8000063880100003802000044' },
  // lg %r2,8(%r15); llgc %r2,0(%r2); svc 1
  { qemu: 's390x', oci: 's390x', bits: 64, bigEndian: true, machine: 22, code: 'e320f0080004e320200000900a01' },
  // mov ebx,[esp+4]; movzx ebx,byte [ebx]; mov eax,1; int 0x80
  { qemu: 'i386', oci: '386', bits: 32, machine: 3, code: '8b5c24040fb61bb801000000cd80' },
  // ld $4,8($29); lbu $4,0($4); li $2,5058; syscall (n64, MIPS64)
  {
    ...{ qemu: 'mips64el', oci: 'mips64le', bits: 64, machine: 8, flags: 0x60000007 },
    code: '0800a4df00008490c21302240c000000',
  },
  // ld.d $a0,$sp,8; ld.bu $a0,$a0,0; li.w $a7,93; syscall 0 (double floats)
  {
    ...{ qemu: 'loongarch64', oci: 'loong64', bits: 64, machine: 258, flags: 0x43 },
    code: '6420c0288400002a0b74810300002b00',
  },
]

/** Of a node, by Node's name of its own architecture. */
const native: Readonly<Record<string, string>> = {
  ...{ x64: 'amd64', arm64: 'arm64', arm: 'arm', riscv64: 'riscv64', ppc64: 'ppc64le', s390x: 's390x' },
  ...{ ia32: '386', loong64: 'loong64' },
}

/** The OCI name of the architecture that this process was made for. */
export const nativeArchitecture = (arch: string): string => native[arch] ?? arch

/** `linux/arm/v7` → `arm`. */
export const architectureOf = (platform: string): string => platform.split('/')[1] ?? ''
