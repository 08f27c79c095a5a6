<#
.SYNOPSIS
Installs, loads, checks, unloads and removes the Postern driver on a test host.

.DESCRIPTION
Works on the package that it lies in. Each action may be repeated: what is there already is left as it is. With -WhatIf nothing is
changed, and each change is told. Run it in an elevated PowerShell (5.1 or later) on a host for tests: Windows 10 2004 or later, x64, test
signing on, Secure Boot off.

Exit codes:
  0  done
  1  failed
  2  this is not a host for it: not 64-bit x86, or older than Windows 10 2004
  3  not elevated
  4  test signing is off
  5  Secure Boot is on, so that test signing cannot be
  6  -Action Check: the host is not as -Expect says
  7  the driver did not stop in time: somebody holds it

.PARAMETER Action
What to do, one after the other: Install, Load, Check, Unload, Remove.

.PARAMETER Model
Kmdf for postern.sys, Wdm for postern_wdm.sys. Both have the same device, so only one is loaded at a time.

.PARAMETER Method
Service copies the image to System32\drivers and makes a service of it; that needs no catalog. DriverStore installs the INF file as a
primitive driver, which needs a catalog: the WDK's inf2cat and signtool make and sign one, if they are on the PATH.

.PARAMETER StartType
Demand, or Boot: Windows' loader loads the driver before the network starts.

.PARAMETER Expect
What -Action Check is to find: Running, Stopped or Absent.

.PARAMETER TimeoutSeconds
How long -Action Unload waits for the driver to stop.

.EXAMPLE
.\Invoke-Postern.ps1 -Action Install, Load, Check

.EXAMPLE
.\Invoke-Postern.ps1 -Action Unload, Remove, Check -Expect Absent

.EXAMPLE
.\Invoke-Postern.ps1 -Action Install -Method DriverStore -WhatIf
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [Parameter(Mandatory = $true, Position = 0)]
    [ValidateSet('Install', 'Load', 'Check', 'Unload', 'Remove')]
    [string[]] $Action,

    [ValidateSet('Kmdf', 'Wdm')]
    [string] $Model = 'Kmdf',

    [ValidateSet('Service', 'DriverStore')]
    [string] $Method = 'Service',

    [ValidateSet('Demand', 'Boot')]
    [string] $StartType = 'Demand',

    [ValidateSet('Running', 'Stopped', 'Absent')]
    [string] $Expect = 'Running',

    [ValidateRange(1, 3600)]
    [int] $TimeoutSeconds = 60
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$Service = if ($Model -eq 'Wdm') { 'postern_wdm' } else { 'postern' }
$PackagedImage = Join-Path $PSScriptRoot "$Service.sys"
$PackagedInf = Join-Path $PSScriptRoot "$Service.inf"
$PackagedCatalog = Join-Path $PSScriptRoot "$Service.cat"
$CertificateFile = Join-Path $PSScriptRoot 'postern-test.cer'
$InstalledImage = Join-Path $env:SystemRoot "System32\drivers\$Service.sys"
# The provider of everything that the driver itself adds to the base filtering engine.
$DriverProvider = '{706f7374-6572-4e00-8000-000000000001}'
# What sc.exe ends with: codes of winerror.h.
$ErrorNames = @{
    5    = 'access denied'
    577  = 'the signature is not accepted: is test signing on, and is the image the one of the package?'
    1056 = 'it runs already'
    1058 = 'the service is disabled'
    1060 = 'there is no such service: use -Action Install first'
    1062 = 'it does not run'
    1072 = 'it is marked for deletion: close what shows services, or restart'
    1275 = 'Windows blocks this driver: is memory integrity or a driver block list on?'
}

# Ends the script: an error on the error stream, and its exit code.
function Stop-Script {
    param([int] $Code, [string] $Message)
    [Console]::Error.WriteLine("error: $Message")
    exit $Code
}

# Runs a program; any exit code but zero, and those that are allowed, ends the script.
function Invoke-Program {
    param([string] $Program, [string[]] $Arguments, [int[]] $Allowed = @())
    # Windows PowerShell takes each line on a program's error stream for an error of its own.
    $ErrorActionPreference = 'Continue'
    $output = & $Program @Arguments 2>&1 | Out-String
    $code = $LASTEXITCODE
    if ($code -ne 0 -and $code -notin $Allowed) {
        $meaning = if ($ErrorNames.ContainsKey($code)) { $ErrorNames[$code] } else { $output.Trim() }
        Stop-Script 1 "$Program $($Arguments -join ' ') ended with $code`: $meaning"
    }
}

# Whether this is a host that can load the driver; if not, ends the script and says what to do.
function Assert-TestHost {
    if ($env:PROCESSOR_ARCHITECTURE -ne 'AMD64') {
        Stop-Script 2 "the driver is for 64-bit x86, and this process is $env:PROCESSOR_ARCHITECTURE"
    }
    if ([Environment]::OSVersion.Version.Build -lt 19041) {
        Stop-Script 2 'the driver needs Windows 10 2004 (build 19041) or later: its allocator is ExAllocatePool2'
    }
    $identity = [Security.Principal.WindowsIdentity]::GetCurrent()
    $administrator = [Security.Principal.WindowsBuiltInRole]::Administrator
    if (-not ([Security.Principal.WindowsPrincipal] $identity).IsInRole($administrator)) {
        Stop-Script 3 'this PowerShell is not elevated: start it with "Run as administrator"'
    }
}

# Whether Windows loads an image that is signed with a test certificate.
function Assert-TestSigning {
    $options = (Get-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Control').SystemStartOptions
    if ($options -match '\bTESTSIGNING\b') {
        return
    }
    $state = Get-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Control\SecureBoot\State' -ErrorAction SilentlyContinue
    if ($null -ne $state -and $state.UEFISecureBootEnabled -eq 1) {
        Stop-Script 5 'Secure Boot is on, which forbids test signing: turn it off in the firmware settings, then run: bcdedit /set testsigning on'
    }
    Stop-Script 4 'test signing is off: run "bcdedit /set testsigning on", then restart'
}

# The driver's service as Windows has it, or nothing.
function Get-DriverService {
    Get-CimInstance -ClassName Win32_SystemDriver -Filter "Name='$Service'"
}

# Running, Stopped, Absent, or what it is between them.
function Get-DriverState {
    $found = Get-DriverService
    if ($null -eq $found) { 'Absent' } else { $found.State }
}

# How many objects of the driver's provider the base filtering engine has.
function Get-ObjectCount {
    $file = [IO.Path]::GetTempFileName()
    try {
        Invoke-Program 'netsh.exe' @('wfp', 'show', 'state', "file=$file")
        # Not as XML: the file has two root elements.
        $state = Get-Content -LiteralPath $file -Raw
        [regex]::Matches($state, "<providerKey>$([regex]::Escape($DriverProvider))</providerKey>", 'IgnoreCase').Count
    }
    finally {
        Remove-Item -LiteralPath $file -Force -WhatIf:$false -Confirm:$false
    }
}

# Whether the image of the package is signed with the certificate of the package, and unchanged.
function Assert-Signature {
    if (-not (Test-Path -LiteralPath $PackagedImage)) {
        Stop-Script 1 "$PackagedImage is not there: run the script of an unpacked package"
    }
    if (-not (Test-Path -LiteralPath $CertificateFile)) {
        Stop-Script 1 "$CertificateFile is not there: the package was made with --unsigned, and Windows does not load its images"
    }
    $signature = Get-AuthenticodeSignature -LiteralPath $PackagedImage
    $certificate = [Security.Cryptography.X509Certificates.X509Certificate2]::new($CertificateFile)
    # UnknownError: signed, by a certificate that this host does not trust, as a test certificate's need not be.
    if ($signature.Status -notin @('Valid', 'UnknownError')) {
        Stop-Script 1 "$PackagedImage`: $($signature.Status): $($signature.StatusMessage)"
    }
    if ($signature.SignerCertificate.Thumbprint -ne $certificate.Thumbprint) {
        Stop-Script 1 "$PackagedImage is signed by $($signature.SignerCertificate.Subject), not by postern-test.cer"
    }
}

# Makes and signs the catalog that Windows wants of a driver package.
function Assert-Catalog {
    if (Test-Path -LiteralPath $PackagedCatalog) {
        return
    }
    foreach ($program in @('inf2cat.exe', 'signtool.exe')) {
        if (-not (Get-Command -Name $program -CommandType Application -ErrorAction SilentlyContinue)) {
            Stop-Script 1 "$PackagedCatalog is not there, and neither is the WDK's $program to make it: use -Method Service"
        }
    }
    if (-not $PSCmdlet.ShouldProcess($PackagedCatalog, 'make and sign the catalog')) {
        return
    }
    Invoke-Program 'inf2cat.exe' @("/driver:$PSScriptRoot", '/os:10_VB_X64')
    $certificate = New-SelfSignedCertificate -Type CodeSigningCert -Subject 'CN=Postern test certificate (catalog)' `
        -CertStoreLocation 'Cert:\LocalMachine\My'
    Invoke-Program 'signtool.exe' @('sign', '/sm', '/fd', 'sha256', '/sha1', $certificate.Thumbprint, $PackagedCatalog)
    Export-Certificate -Cert $certificate -FilePath "$PackagedCatalog.cer" | Out-Null
    Remove-Item -Path "Cert:\LocalMachine\My\$($certificate.Thumbprint)" -DeleteKey
}

# The certificates that Windows must trust to install the package's INF file.
function Get-PackageCertificate {
    @($CertificateFile, "$PackagedCatalog.cer") | Where-Object { Test-Path -LiteralPath $_ } |
        ForEach-Object { [Security.Cryptography.X509Certificates.X509Certificate2]::new($_) }
}

# Windows' own functions for a primitive driver ("Creating a Primitive Driver").
function Invoke-DriverStore {
    param([ValidateSet('Install', 'Uninstall')] [string] $Operation)
    if (-not ('Postern.NewDev' -as [type])) {
        Add-Type -Namespace Postern -Name NewDev -MemberDefinition @'
[DllImport("newdev.dll", CharSet = CharSet.Unicode, SetLastError = true)]
[return: MarshalAs(UnmanagedType.Bool)]
public static extern bool DiInstallDriverW(IntPtr parent, string inf, uint flags, [MarshalAs(UnmanagedType.Bool)] out bool reboot);
[DllImport("newdev.dll", CharSet = CharSet.Unicode, SetLastError = true)]
[return: MarshalAs(UnmanagedType.Bool)]
public static extern bool DiUninstallDriverW(IntPtr parent, string inf, uint flags, [MarshalAs(UnmanagedType.Bool)] out bool reboot);
'@
    }
    $reboot = $false
    if ($Operation -eq 'Install') {
        $done = [Postern.NewDev]::DiInstallDriverW([IntPtr]::Zero, $PackagedInf, 0, [ref] $reboot)
    }
    else {
        $done = [Postern.NewDev]::DiUninstallDriverW([IntPtr]::Zero, $PackagedInf, 0, [ref] $reboot)
    }
    if (-not $done) {
        $code = [Runtime.InteropServices.Marshal]::GetLastWin32Error()
        Stop-Script 1 "$PackagedInf`: $Operation failed: $([ComponentModel.Win32Exception]::new($code).Message) ($code)"
    }
    if ($reboot) {
        Write-Warning 'Windows must be restarted to complete this.'
    }
}

function Install-Driver {
    Assert-TestSigning
    Assert-Signature
    if ($Method -eq 'DriverStore') {
        Assert-Catalog
        foreach ($certificate in Get-PackageCertificate) {
            foreach ($store in @('Root', 'TrustedPublisher')) {
                if ($PSCmdlet.ShouldProcess("$($certificate.Subject) in $store", 'trust the certificate')) {
                    $opened = [Security.Cryptography.X509Certificates.X509Store]::new($store, 'LocalMachine')
                    $opened.Open('ReadWrite')
                    $opened.Add($certificate)
                    $opened.Close()
                }
            }
        }
        if ($PSCmdlet.ShouldProcess($PackagedInf, 'install the driver package')) {
            Invoke-DriverStore -Operation Install
        }
    }
    else {
        Install-DriverService
    }
    if ($PSCmdlet.ShouldProcess($Service, "set the start to $StartType")) {
        Invoke-Program 'sc.exe' @('config', $Service, 'start=', $StartType.ToLowerInvariant(), 'group=', 'NDIS')
    }
}

function Install-DriverService {
    $state = Get-DriverState
    $same = (Test-Path -LiteralPath $InstalledImage) -and
        (Get-FileHash -LiteralPath $InstalledImage).Hash -eq (Get-FileHash -LiteralPath $PackagedImage).Hash
    if (-not $same) {
        if ($state -notin @('Stopped', 'Absent')) {
            Stop-Script 1 "another $Service.sys is loaded: use -Action Unload first"
        }
        if ($PSCmdlet.ShouldProcess($InstalledImage, 'copy the image')) {
            Copy-Item -LiteralPath $PackagedImage -Destination $InstalledImage -Force
        }
    }
    if ($state -eq 'Absent' -and $PSCmdlet.ShouldProcess($Service, 'make the service')) {
        Invoke-Program 'sc.exe' @('create', $Service, 'type=', 'kernel', 'start=', 'demand', 'error=', 'normal',
            'binPath=', "\SystemRoot\System32\drivers\$Service.sys", 'DisplayName=', "Postern ($Model)")
    }
}

function Start-Driver {
    Assert-TestSigning
    if ((Get-DriverState) -eq 'Running') {
        Write-Verbose "$Service runs already"
        return
    }
    if ($PSCmdlet.ShouldProcess($Service, 'load the driver')) {
        # 1056: somebody else was faster.
        Invoke-Program 'sc.exe' @('start', $Service) -Allowed 1056
    }
}

function Stop-Driver {
    if ((Get-DriverState) -in @('Stopped', 'Absent')) {
        Write-Verbose "$Service does not run"
        return
    }
    if (-not $PSCmdlet.ShouldProcess($Service, 'unload the driver')) {
        return
    }
    # A process of its own: while the driver's unload function does not return, sc.exe does not either.
    $stop = Start-Process -FilePath 'sc.exe' -ArgumentList 'stop', $Service -NoNewWindow -PassThru
    # Read now, or its exit code is not kept.
    $stop.Handle | Out-Null
    $end = [DateTime]::UtcNow.AddSeconds($TimeoutSeconds)
    while ((Get-DriverState) -ne 'Stopped') {
        # 1061: an earlier stop has not ended, and is waited for. 1062: it has stopped meanwhile.
        if ($stop.HasExited -and $stop.ExitCode -notin @(0, 1061, 1062)) {
            $meaning = $ErrorNames[$stop.ExitCode]
            Stop-Script 1 "sc.exe stop $Service ended with $($stop.ExitCode): $meaning"
        }
        if ([DateTime]::UtcNow -ge $end) {
            Stop-Script 7 ("$Service has not stopped in $TimeoutSeconds seconds. Windows calls its unload function when the last handle " +
                'to its device is closed: end the programs that watch or hold (postern watch, postern ask), then wait again. ' +
                'A driver that waits in its unload function says in the debugger''s log for what')
        }
        Start-Sleep -Milliseconds 200
    }
}

function Remove-Driver {
    Stop-Driver
    if ($Method -eq 'DriverStore') {
        if ($PSCmdlet.ShouldProcess($PackagedInf, 'uninstall the driver package')) {
            Invoke-DriverStore -Operation Uninstall
        }
        foreach ($certificate in Get-PackageCertificate) {
            foreach ($store in @('Root', 'TrustedPublisher')) {
                if ($PSCmdlet.ShouldProcess("$($certificate.Subject) in $store", 'trust the certificate no longer')) {
                    $opened = [Security.Cryptography.X509Certificates.X509Store]::new($store, 'LocalMachine')
                    $opened.Open('ReadWrite')
                    $opened.Remove($certificate)
                    $opened.Close()
                }
            }
        }
        return
    }
    if ((Get-DriverState) -ne 'Absent' -and $PSCmdlet.ShouldProcess($Service, 'delete the service')) {
        # 1060: it is gone already.
        Invoke-Program 'sc.exe' @('delete', $Service) -Allowed 1060
    }
    if ((Test-Path -LiteralPath $InstalledImage) -and $PSCmdlet.ShouldProcess($InstalledImage, 'delete the image')) {
        Remove-Item -LiteralPath $InstalledImage -Force
    }
}

# Shows how the host is, and ends the script if that is not what is expected.
function Test-Driver {
    $state = Get-DriverState
    $objects = Get-ObjectCount
    $image = Test-Path -LiteralPath $InstalledImage
    [pscustomobject] @{
        Service = $Service
        State   = $state
        Start   = if ($state -eq 'Absent') { $null } else { (Get-DriverService).StartMode }
        Image   = $image
        Objects = $objects
    }
    $problems = @()
    if ($state -ne $Expect) {
        $problems += "the driver is $state, and should be $Expect"
    }
    if ($Expect -eq 'Running' -and $objects -eq 0) {
        $problems += 'the base filtering engine has no object of the driver: does the service BFE run?'
    }
    if ($Expect -ne 'Running' -and $objects -ne 0) {
        $problems += "the base filtering engine still has $objects objects of the driver"
    }
    if ($Expect -eq 'Absent' -and $image) {
        $problems += "$InstalledImage is still there"
    }
    if ($problems.Count -gt 0) {
        Stop-Script 6 ($problems -join '; ')
    }
}

Assert-TestHost
try {
    foreach ($step in $Action) {
        switch ($step) {
            'Install' { Install-Driver }
            'Load' { Start-Driver }
            'Check' { Test-Driver }
            'Unload' { Stop-Driver }
            'Remove' { Remove-Driver }
        }
    }
}
catch {
    Stop-Script 1 "$step`: $($_.Exception.Message)"
}
exit 0
