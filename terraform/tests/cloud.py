"""What moto, played for AWS, has of examples/complete. Run by `cargo xtask test --terraform` in the example's folder.

`cloud.py prepare`: what an operator has already, a certificate and an image, as inputs of the example.
`cloud.py made`: reads back what a person would look at in the console.
`cloud.py drift PLAN`: a second plan changes nothing but what moto is known to forget.
`cloud.py gone`: nothing is left.

And for the lab, which plays what moto does not (crates/lab/src/autoscaled):
`cloud.py scene`: what there is, as JSON. `cloud.py instances`: ids of the group's instances.
`cloud.py scale N`, `cloud.py replace ID`: the group's size, or another instance in one's place; ids of those that it then has.
`cloud.py passed-on`: how often the rule passes the event on standard input on.
"""

import base64
import datetime
import json
import pathlib
import re
import shutil
import subprocess
import sys

import boto3

NAME = "mesh"
HERE = pathlib.Path(__file__).resolve().parent
INPUTS = pathlib.Path("prepared.auto.tfvars.json")
# What moto forgets or changes of what it was told, by resource type and attribute. AWS is expected to forget nothing.
KNOWN_DRIFT = {
    "aws_autoscaling_group": ["capacity_reservation_specification", "default_instance_warmup", "mixed_instances_policy"],
    "aws_autoscaling_lifecycle_hook": ["notification_target_arn", "role_arn"],
    "aws_autoscaling_policy": ["enabled", "predictive_scaling_configuration"],
    "aws_db_parameter_group": ["parameter"],
    "aws_launch_template": ["default_version", "latest_version", "tag_specifications"],
    "aws_lb": ["subnet_mapping", "subnets"],
    "aws_vpc_security_group_egress_rule": ["description"],
    "aws_vpc_security_group_ingress_rule": ["description"],
}


def client(service):
    return boto3.client(service, region_name="eu-central-1")


def check(held, what, found=None):
    if not held:
        sys.exit(f"cloud.py: {what}" + (f": {found}" if found is not None else ""))


def prepare():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example.org")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    arn = client("acm").import_certificate(
        Certificate=certificate.public_bytes(serialization.Encoding.PEM),
        PrivateKey=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ),
    )["CertificateArn"]
    images = [image for image in client("ec2").describe_images(Owners=["amazon"])["Images"] if image["RootDeviceType"] == "ebs"]
    inputs = {"hooks": {"host": "hooks.example.org", "certificate_arn": arn}, "ami_id": images[0]["ImageId"]}
    INPUTS.write_text(json.dumps(inputs))
    for module in ("controller", "prep"):
        shutil.copy(HERE / f"{module}_override.tf", HERE.parent / "modules/aws" / module / "moto_override.tf")


def made():
    ec2, elb, asg = client("ec2"), client("elbv2"), client("autoscaling")

    # Instances: metadata by token alone, no public address for controller and validator.
    template = ec2.describe_launch_templates()["LaunchTemplates"][0]["LaunchTemplateId"]
    data = ec2.describe_launch_template_versions(LaunchTemplateId=template, Versions=["$Latest"])
    data = data["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    check(data["MetadataOptions"]["HttpTokens"] == "required", "sentries give metadata without a token", data)
    check(data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1, "sentries' metadata are to be had from further away")
    check(all(device["Ebs"]["Encrypted"] for device in data["BlockDeviceMappings"]), "a sentry's volume is in the clear")

    # Groups: nobody can open a connection to the validator, and nobody by address to any instance.
    groups = {group["GroupName"]: group for group in ec2.describe_security_groups()["SecurityGroups"]}
    ours = {name: group for name, group in groups.items() if name.startswith(f"{NAME}-")}
    validator = [group for name, group in ours.items() if name.startswith(f"{NAME}-prep-1-")]
    check(len(validator) == 1 and validator[0]["IpPermissions"] == [], "the validator lets somebody in", validator)
    for rule in validator[0]["IpPermissionsEgress"]:
        check(not rule.get("IpRanges") and not rule.get("Ipv6Ranges"), "the validator may dial by address", rule)
    for name, group in ours.items():
        for rule in group["IpPermissions"]:
            check(not rule.get("IpRanges") and not rule.get("Ipv6Ranges"), f"{name} lets in by address", rule)
            check(rule["IpProtocol"] in ("tcp", "udp") and rule["FromPort"] == rule["ToPort"] != 22, f"{name}", rule)

    # AWS takes 60 rules in a group each way, and counts for a prefix list as many as it may have entries.
    sizes = {each["PrefixListId"]: each["MaxEntries"] for each in ec2.describe_managed_prefix_lists()["PrefixLists"] if "MaxEntries" in each}
    for name, group in ours.items():
        for way in ("IpPermissions", "IpPermissionsEgress"):
            lists = [of["PrefixListId"] for rule in group[way] for of in rule.get("PrefixListIds", [])]
            count = len(group[way]) - len(lists) + sum(sizes.get(of, 1) for of in lists)
            check(count <= 60, f"{name} has more rules than AWS takes ({way})", count)
    check(any(size > 1 for size in sizes.values()), "no prefix list has a size", sizes)

    # The group, its hooks, and the balancers.
    group = asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]
    check((group["MinSize"], group["MaxSize"]) == (2, 6), "the group has other sizes", group)
    check(group["HealthCheckType"] == "ELB", "a sentry that is not ready stays")
    hooks = asg.describe_lifecycle_hooks(AutoScalingGroupName=group["AutoScalingGroupName"])["LifecycleHooks"]
    results = {hook["LifecycleHookName"]: (hook["DefaultResult"], hook["HeartbeatTimeout"]) for hook in hooks}
    check(results == {"picket-up": ("ABANDON", 300), "picket-down": ("CONTINUE", 300)}, "hooks", results)
    listeners = {}
    for balancer in elb.describe_load_balancers()["LoadBalancers"]:
        check(balancer["Type"] == "network", "a balancer that hides sources", balancer)
        for listener in elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]:
            listeners[(balancer["LoadBalancerName"], listener["Port"])] = listener["Protocol"]
            if listener["Protocol"] == "TCP":
                attributes = elb.describe_listener_attributes(ListenerArn=listener["ListenerArn"])["Attributes"]
                idle = {attribute["Key"]: attribute["Value"] for attribute in attributes}["tcp.idle_timeout.seconds"]
                check(int(idle) == 3600, "silent flows are forgotten sooner than was asked for", listener)
    expected = {("mesh-controller", 7443): "TCP", ("mesh-controller", 443): "TLS"}
    expected |= {("mesh-edge", 7100): "TCP", ("mesh-edge", 9000): "TCP"}
    check(listeners == expected, "listeners", listeners)

    # Targets are looked at by their own /ready, and see who really comes; both controllers are behind theirs.
    for target in elb.describe_target_groups()["TargetGroups"]:
        name, arn = target["TargetGroupName"], target["TargetGroupArn"]
        attributes = elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
        attributes = {attribute["Key"]: attribute["Value"] for attribute in attributes}
        check(attributes.get("preserve_client_ip.enabled") == "true", f"{name} hides sources", attributes)
        if name.startswith(f"{NAME}-edge"):
            look = (target["HealthCheckProtocol"], target["HealthCheckPath"], target["HealthCheckPort"])
            check(look == ("HTTP", "/ready", "7480"), f"{name} is well by something else than /ready", look)
        else:
            behind = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
            check(len(behind) == 2, f"{name} has other controllers", behind)

    # The database: encrypted, over two zones, with a password that Terraform never had.
    [database] = client("rds").describe_db_instances()["DBInstances"]
    check(database["StorageEncrypted"] and database["MultiAZ"] and not database["PubliclyAccessible"], "database", database)
    check(database["MasterUserSecret"]["SecretArn"], "the database's password is nobody's", database)

    # Secrets: the hook's is what EventBridge shows, and stands nowhere else; the passphrase has no value yet.
    secrets = client("secretsmanager")
    names = {secret["Name"]: secret["ARN"] for secret in secrets.list_secrets()["SecretList"] if "picket/" in secret["Name"]}
    check(len(names) == 3, "secrets", names)
    of = next(arn for name, arn in names.items() if "eventbridge" in name)
    secret = secrets.get_secret_value(SecretId=of)["SecretString"]
    check(len(secret) == 64, "EventBridge's secret is short")
    passphrase = next(arn for name, arn in names.items() if "ca-passphrase" in name)
    authority = next(arn for name, arn in names.items() if "/ca-" in name and "passphrase" not in name)
    for one, what in [(passphrase, "the passphrase of the CA's key"), (authority, "the CA")]:
        try:
            secrets.get_secret_value(SecretId=one)
            check(False, f"Terraform knows {what}")
        except secrets.exceptions.ResourceNotFoundException:
            pass
    configuration = client("ssm").get_parameter(Name=f"/picket/{NAME}/controller.toml")["Parameter"]["Value"]
    check(secret not in configuration and "[[enroll]]" in configuration, "the configuration", configuration)
    image = json.loads(INPUTS.read_text())["ami_id"]
    check(f'images = ["{image}"]' in configuration, "the rule is not of the sentries' image", configuration)
    check('groups = ["mesh-*"]' in configuration, "hooks are not of this mesh's groups", configuration)

    # User data: a script that the shell can read, without a secret.
    scripts = {"sentries": base64.b64decode(data["UserData"]).decode()}
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            scripts[instance["InstanceId"]] = user_data_of(instance)
    check(len(scripts) >= 3, "instances without user data", sorted(scripts))
    for whose, script in scripts.items():
        check(script.startswith("#!/bin/sh\n"), f"user data of {whose} is no script", script[:80])
        check(secret not in script, f"user data of {whose} has a secret")
        read = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
        check(read.returncode == 0, f"user data of {whose}", read.stderr)
        for path, inner in scripts_within(script).items():
            read = subprocess.run(["sh", "-n"], input=inner, capture_output=True, text=True)
            check(read.returncode == 0, f"{path} of {whose}", read.stderr)

    # What a group scales by is what the controller writes.
    policies = client("autoscaling").describe_policies()["ScalingPolicies"]
    ours = [policy["TargetTrackingConfiguration"].get("CustomizedMetricSpecification") for policy in policies]
    ours = [(of["Namespace"], of["MetricName"]) for of in ours if of]
    check(ours == [("Picket", "TrackedConnectionsPercent")], "scaling by what the mesh reports", ours)

    # Delivery: the rule's one target is the controller's hook API.
    events = client("events")
    target = events.list_targets_by_rule(Rule=f"{NAME}-lifecycle")["Targets"]
    check(len(target) == 1 and "api-destination" in target[0]["Arn"] and "DeadLetterConfig" in target[0], "target", target)
    destination = events.describe_api_destination(Name=f"{NAME}-lifecycle")
    check(destination["InvocationEndpoint"] == "https://hooks.example.org/v1/hooks/aws", "destination", destination)

    # Rights: a sentry's role has none.
    iam = client("iam")
    role = f"{NAME}-edge-sentry-eu-central-1"
    check(iam.list_role_policies(RoleName=role)["PolicyNames"] == [], "sentries have a right")
    check(iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == [], "sentries have a right")

    for each in iam.list_roles()["Roles"]:
        if each["RoleName"].startswith(f"{NAME}-"):
            attached = iam.list_attached_role_policies(RoleName=each["RoleName"])["AttachedPolicies"]
            check(attached == [], f"{each['RoleName']} has rights that are not written here", attached)

    # Backups: versions are kept, and nothing is public.
    s3 = client("s3")
    bucket = next(b["Name"] for b in s3.list_buckets()["Buckets"] if b["Name"].startswith(f"{NAME}-backups-"))
    check(s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled", "backups can be overwritten")
    check(all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()), "backups are public")


def scripts_within(user_data):
    """Scripts that user data writes, by their paths."""
    return dict(re.findall(r"^cat >(\S+) <<'SCRIPT'\n(.*?)^SCRIPT$", user_data, re.M | re.S))


def user_data_of(instance):
    said = client("ec2").describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    return base64.b64decode(said["UserData"]["Value"]).decode()


def group_made():
    return client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]


def instances():
    return sorted(instance["InstanceId"] for instance in group_made()["Instances"])


def scene():
    ec2, elb, group = client("ec2"), client("elbv2"), group_made()
    hooks = client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName=group["AutoScalingGroupName"])
    hooks = {hook["LifecycleTransition"]: hook for hook in hooks["LifecycleHooks"]}
    template = ec2.describe_launch_templates()["LaunchTemplates"][0]["LaunchTemplateId"]
    template = ec2.describe_launch_template_versions(LaunchTemplateId=template, Versions=["$Latest"])
    template = template["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    targets = elb.describe_target_groups(TargetGroupArns=group["TargetGroupARNs"])["TargetGroups"]
    looks = [{key: value for key, value in target.items() if key.startswith("Health") or key == "Matcher"} for target in targets]
    check(all(look == looks[0] for look in looks), "target groups look at health in different ways", looks)
    secret = client("secretsmanager").list_secrets()["SecretList"]
    secret = next(one["ARN"] for one in secret if one["Name"].startswith(f"picket/{NAME}/eventbridge-"))
    controller = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": [f"{NAME}-controller"]}])
    controller = user_data_of(controller["Reservations"][0]["Instances"][0])

    def hook(transition):
        found = hooks[f"autoscaling:EC2_INSTANCE_{transition}"]
        return {
            "name": found["LifecycleHookName"],
            "timeout_seconds": found["HeartbeatTimeout"],
            "default_result": found["DefaultResult"],
        }

    return {
        "account": client("sts").get_caller_identity()["Account"],
        "region": "eu-central-1",
        "image": template["ImageId"],
        "group": group["AutoScalingGroupName"],
        "launching": hook("LAUNCHING"),
        "terminating": hook("TERMINATING"),
        "user_data": base64.b64decode(template["UserData"]).decode(),
        "configuration": client("ssm").get_parameter(Name=f"/picket/{NAME}/controller.toml")["Parameter"]["Value"],
        "hook_secret": client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"],
        "pools_script": scripts_within(controller)["/usr/local/lib/picket/pools"],
        "health": {
            "port": int(targets[0]["HealthCheckPort"]),
            "path": targets[0]["HealthCheckPath"],
            "matcher": targets[0]["Matcher"]["HttpCode"],
            "healthy": targets[0]["HealthyThresholdCount"],
            "unhealthy": targets[0]["UnhealthyThresholdCount"],
        },
        "ports": sorted(target["Port"] for target in targets),
    }


def scale(to):
    name = group_made()["AutoScalingGroupName"]
    client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=to)
    return instances()


def replace(instance):
    client("autoscaling").terminate_instance_in_auto_scaling_group(InstanceId=instance, ShouldDecrementDesiredCapacity=False)
    return instances()


def passed_on(event):
    """moto posts nothing to an API destination, and leaves fields out elsewhere: a queue on the rule says whether it passes."""
    events, sqs, rule = client("events"), client("sqs"), f"{NAME}-lifecycle"
    queue = sqs.create_queue(QueueName=f"{NAME}-lab")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    try:
        events.put_targets(Rule=rule, Targets=[{"Id": "lab", "Arn": arn}])
        entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
        events.put_events(Entries=[entry | {"Resources": event["resources"]}])
        return len(sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", []))
    finally:
        events.remove_targets(Rule=rule, Ids=["lab"])
        sqs.delete_queue(QueueUrl=queue)


def changed(before, after):
    """Names of the attributes that differ; what is only known after an apply counts too."""
    return {key for key in {**before, **after} if before.get(key) != after.get(key)}


def drift(plan):
    found = {}
    for resource in json.loads(pathlib.Path(plan).read_text()).get("resource_changes", []):
        change = resource["change"]
        if change["actions"] in (["no-op"], ["read"]):
            continue
        check(change["actions"] == ["update"], f"{resource['address']} would be made anew", change["actions"])
        found.setdefault(resource["type"], set()).update(changed(change["before"], change["after"]))
    found = {kind: sorted(names) for kind, names in sorted(found.items())}
    check(found == KNOWN_DRIFT, "the second plan changes other things than moto is known to forget", found)


def gone():
    ec2 = client("ec2")
    left = {
        "vpcs": [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]],
        "groups": [g["GroupName"] for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"],
        "templates": ec2.describe_launch_templates()["LaunchTemplates"],
        "addresses": ec2.describe_addresses()["Addresses"],
        "balancers": client("elbv2").describe_load_balancers()["LoadBalancers"],
        "groups of instances": client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"],
        "rules": client("events").list_rules()["Rules"],
        "roles": [role["RoleName"] for role in client("iam").list_roles()["Roles"] if role["RoleName"].startswith(NAME)],
        "queues": client("sqs").list_queues().get("QueueUrls", []),
        "buckets": client("s3").list_buckets()["Buckets"],
        "topics": client("sns").list_topics()["Topics"],
        "databases": client("rds").describe_db_instances()["DBInstances"],
        "alarms": client("cloudwatch").describe_alarms()["MetricAlarms"],
        "parameters": client("ssm").get_parameters_by_path(Path="/picket", Recursive=True)["Parameters"],
    }
    left = {kind: found for kind, found in left.items() if found}
    check(not left, "the destroy left something", left)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare"]:
            prepare()
        case ["made"]:
            made()
        case ["drift", plan]:
            drift(plan)
        case ["gone"]:
            gone()
        case ["scene"]:
            print(json.dumps(scene()))
        case ["instances"]:
            print(json.dumps(instances()))
        case ["scale", to]:
            print(json.dumps(scale(int(to))))
        case ["replace", instance]:
            print(json.dumps(replace(instance)))
        case ["passed-on"]:
            print(json.dumps(passed_on(json.load(sys.stdin))))
        case other:
            sys.exit(f"cloud.py: {other} is none of what stands at the top of this file")
